package watch

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"kvd/kv"
)

// TestTrieFindsWhatMatches compares the trie with kv.Match, pattern by pattern,
// while patterns come and go, and wants nothing left of it in the end.
func TestTrieFindsWhatMatches(t *testing.T) {
	for seed := range uint64(50) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			var x trie
			var there []*topic
			for range 400 {
				if len(there) > 0 && rng.IntN(3) == 0 {
					i := rng.IntN(len(there))
					x.remove(there[i].name, there[i])
					there = slices.Delete(there, i, i+1)
				} else if p := randomName(rng, "a", "b", "*", ">"); kv.CheckPattern(p) == nil {
					added := &topic{name: p}
					x.add(p, added)
					there = append(there, added)
				}
				checkMatches(t, &x, there, randomName(rng, "a", "b", "c"))
			}
			for _, gone := range there {
				x.remove(gone.name, gone)
			}
			if !x.root.empty() {
				t.Errorf("the empty trie still has %+v", x.root)
			}
		})
	}
}

func randomName(rng *rand.Rand, tokens ...string) string {
	name := make([]string, 1+rng.IntN(4))
	for i := range name {
		name[i] = tokens[rng.IntN(len(tokens))]
	}
	return strings.Join(name, ".")
}

func checkMatches(t *testing.T, x *trie, there []*topic, key string) {
	t.Helper()
	found := make(map[*topic]int)
	x.match(key, func(t *topic) { found[t]++ })
	for _, p := range there {
		want := 0
		if kv.Match(p.name, key) {
			want = 1
		}
		if found[p] != want {
			t.Fatalf("pattern %q was found %d times for key %q, want %d", p.name, found[p], key, want)
		}
		delete(found, p)
	}
	if len(found) > 0 {
		t.Fatalf("key %q finds %d patterns that are not there", key, len(found))
	}
}

func TestTrieMatchesWithoutAllocating(t *testing.T) {
	var x trie
	for _, p := range []string{">", "a.*.c", "a.b.c", "*.>", "x.y"} {
		x.add(p, &topic{name: p})
	}
	n := 0
	if allocs := testing.AllocsPerRun(100, func() { x.match("a.b.c", func(*topic) { n++ }) }); allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
	if n == 0 {
		t.Error("nothing matched")
	}
}

// TestTrieOfManyWildcards bounds the work of a key against patterns made to cost.
func TestTrieOfManyWildcards(t *testing.T) {
	var x trie
	patterns := 0
	for i := range 1 << 10 { // every mix of a and * in ten tokens
		p := make([]string, 10)
		for j := range p {
			p[j] = []string{"a", "*"}[i>>j&1]
		}
		x.add(strings.Join(p, "."), &topic{})
		patterns++
	}
	found := 0
	x.match(strings.TrimSuffix(strings.Repeat("a.", 10), "."), func(*topic) { found++ })
	if found != patterns {
		t.Errorf("%d patterns match, want %d", found, patterns)
	}
}
