package index

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"kvd/kv"
)

// A walk has found the versions of the keys ahead before it shows them. It shows what was
// there at its snapshot, with the place of the moment, although all of them change meanwhile.
func TestAWalkShowsTheKeysAheadAsTheyWere(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		x := New()
		next := Version{Op: kv.Put, Size: 100}
		put := func(key string, floor kv.Revision) {
			next.Revision++
			x.Apply(Hash(key), key, next, floor, nil)
		}
		names := make([]string, 500)
		for i := range names {
			names[i] = fmt.Sprintf("key-%04d", i)
		}
		want := map[string][]Version{}
		for range 3 {
			for _, key := range names {
				put(key, 0)
			}
		}
		for _, key := range names {
			want[key] = x.Versions(nil, Hash(key), key)
		}
		s := x.Snapshot()
		seen, places := 0, map[string]Place{}
		s.AscendVersions("", func(key []byte, versions []Version) bool {
			name := string(key)
			if name != names[seen] || len(versions) != len(want[name]) {
				t.Fatalf("seed %d: %q with %d versions, want %q with 3", seed, key, len(versions), names[seen])
			}
			for i, v := range versions {
				w := want[name][i]
				if to, moved := places[name]; moved && i == 2 {
					w.Segment, w.Offset = to.Segment, to.Offset
				}
				if v != w {
					t.Fatalf("seed %d: %q has %+v, want %+v", seed, key, v, w)
				}
			}
			seen++
			for range 8 {
				ahead := names[rng.IntN(len(names))]
				newest := want[ahead][2]
				switch rng.IntN(5) {
				case 0:
					put(ahead, next.Revision+1) // alone: older ones are removed
				case 1:
					put(ahead, 0)
				case 2:
					x.Trim(Hash(ahead), ahead, next.Revision+1, nil) // the key is removed
				case 3:
					x.Remove(Hash(ahead), ahead, newest.Revision, nil)
				case 4:
					to := Place{Segment: 7, Offset: int64(rng.IntN(1000)) * 8}
					from, moved := places[ahead]
					if !moved {
						from = newest.Place()
					}
					if x.Move(Hash(ahead), ahead, newest.Revision, from, to) {
						places[ahead] = to
					}
				}
			}
			return true
		})
		s.Release()
		if seen != len(names) {
			t.Fatalf("seed %d: %d keys of %d were shown", seed, seen, len(names))
		}
	}
}
