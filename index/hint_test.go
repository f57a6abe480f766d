package index

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"kvd/kv"
)

// A hint leads to the line of its place, in the right segment as long as segments are not many.
func TestHint(t *testing.T) {
	for _, c := range []struct {
		name string
		at   Place
		end  uint32 // of the segments
		want Place
		ok   bool
	}{
		{"rounded down", Place{3, 4096 + 8}, 64, Place{3, 4096}, true},
		{"last line", Place{0, hintOffsetsBytes - 8}, 64, Place{0, hintOffsetsBytes - hintAlign}, true},
		{"offset without a hint", Place{0, hintOffsetsBytes}, 64, Place{}, false},
		{"unknown", Place{}, 64, Place{}, false},
		{"segment of a later round", Place{5000, 64}, 5056, Place{5000, 64}, true},
		{"segment too old: another one", Place{1, 64}, hintSegments + 64, Place{hintSegments + 1, 64}, true},
		{"segment that was never counted", Place{70, 64}, 64, Place{}, false},
	} {
		if got, ok := hintOf(c.at).place(c.end); got != c.want || ok != c.ok {
			t.Errorf("%s: %+v leads to %+v, %v", c.name, c.at, got, ok)
		}
	}
}

// Whatever changes the newest version of a key, Prefetch returns the line of its place.
func TestPrefetchReturnsThePlace(t *testing.T) {
	const keys, steps = 300, 20_000
	rng := rand.New(rand.NewPCG(1, 2))
	x := New()
	var snapshot *Snapshot
	offset := int64(64)
	unknown := 0
	place := func() Place {
		offset += 8 * rng.Int64N(100)
		return Place{Segment: uint32(rng.IntN(100)), Offset: offset}
	}
	for rev := kv.Revision(1); rev <= steps; rev++ {
		key := fmt.Sprintf("key-%d", rng.IntN(keys))
		hash := Hash(key)
		newest, present := x.Newest(hash, key)
		switch rng.IntN(8) {
		case 0:
			if present {
				if _, older := x.At(hash, key, newest.Revision); !older || !x.Move(hash, key, newest.Revision, newest.Place(), place()) {
					t.Fatalf("step %d: the newest of %q was not moved", rev, key)
				}
			}
		case 1:
			x.Remove(hash, key, newest.Revision, nil)
		case 2:
			if snapshot != nil {
				snapshot.Release()
			}
			snapshot = x.Snapshot()
		default:
			p := place()
			v := Version{Revision: rev, Created: 1, Segment: p.Segment, Offset: p.Offset, Size: 100, Op: kv.Put}
			x.Apply(hash, key, v, rev-min(rev, kv.Revision(rng.IntN(2*keys))), nil)
		}
		v, ok := x.Newest(hash, key)
		if !ok {
			continue
		}
		want := Place{v.Segment, v.Offset / hintAlign * hintAlign}
		got, ok := x.Prefetch(hash)
		if !ok {
			unknown++
		} else if got != want {
			t.Fatalf("step %d: the newest of %q is at %+v, Prefetch returns %+v, %v", rev, key, want, got, ok)
		}
	}
	if unknown > steps/100 {
		t.Errorf("nothing was known of %d", unknown)
	}
}
