package index

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"kvd/kv"
)

// A walk part by part sees every key that is present all the time, although the table
// grows meanwhile and other keys are added and removed.
func TestEveryKeyThatStaysIsInSomePart(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		x := New()
		next := Version{Op: kv.Put}
		put := func(key string) {
			next.Revision++
			x.Apply(Hash(key), key, next, 0, nil)
		}
		stay := rng.IntN(3000)
		for i := range stay {
			put(fmt.Sprint("stays", i))
		}
		shown := map[string]bool{}
		come := 0
		for n := 0; x.Part(n, func(key []byte, _ Version) { shown[string(key)] = true }); n++ {
			for range rng.IntN(max(1, 200-n)) { // so that the walk comes to an end
				put(fmt.Sprint("comes", come))
				come++
			}
			for range rng.IntN(100) {
				key := fmt.Sprint("comes", rng.IntN(come+1))
				x.Trim(Hash(key), key, next.Revision+1, nil)
			}
		}
		for i := range stay {
			if key := fmt.Sprint("stays", i); !shown[key] {
				t.Fatalf("seed %d: %q of %d keys was not shown", seed, key, stay)
			}
		}
	}
}
