package descriptors

import (
	"math"
	"testing"
)

func TestShares(t *testing.T) {
	for _, c := range []struct{ limit, store, connections int }{
		{16, 36, 1}, {64, 36, 16}, {256, 128, 116}, {1024, 512, 500}, {1 << 20, 16420, 1<<20 - 16432}, {math.MaxInt, 16420, math.MaxInt - 16432},
	} {
		if s, n := Store(c.limit), Connections(c.limit); s != c.store || n != c.connections {
			t.Errorf("of %d descriptors a store has %d, and connections %d; want %d and %d", c.limit, s, n, c.store, c.connections)
		}
	}
}

func TestLimit(t *testing.T) {
	if n := Limit(); n < 16 {
		t.Errorf("%d descriptors", n)
	}
}
