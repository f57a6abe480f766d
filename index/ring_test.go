package index

import (
	"fmt"
	"testing"
)

// Keys with long histories: their chains have rings, whose ends move with every put.
func TestModelOfLongHistories(t *testing.T) {
	for seed := range uint64(16) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			p := newPair(t, seed, 1+int(seed%4))
			p.history = []int{ringLeast, ringLeast + 1, ringMost/2 + 1, ringMost, ringMost + 1}[seed%5]
			rings := 0
			for range 3000 {
				switch p.rng.IntN(40) {
				case 0:
					p.step()
				case 1, 2:
					p.trim()
				default:
					p.apply(false)
				}
				rings = max(rings, len(p.x.rings))
				if p.rng.IntN(4) == 0 {
					p.checkKey(p.key())
				}
				if p.rng.IntN(300) == 0 {
					p.checkAll()
				}
			}
			if p.history > ringLeast && rings == 0 {
				t.Errorf("no key had a ring with a history of %d", p.history)
			}
			for len(p.snapshots) > 0 {
				p.release(0)
			}
			p.checkAll()
			p.checkNothingLeaks()
		})
	}
}
