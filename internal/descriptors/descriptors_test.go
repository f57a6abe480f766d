package descriptors

import (
	"math"
	"testing"
)

func TestShares(t *testing.T) {
	for _, c := range []struct{ limit, store, connections int }{
		{16, 40, 1}, {64, 40, 8}, {256, 128, 112}, {1024, 512, 496}, {1 << 20, 16424, 1<<20 - 16440}, {math.MaxInt, 16424, math.MaxInt - 16440},
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
