package patterns

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"kvd/kv"
)

// entry is a value with a pattern of its own.
type entry struct{ pattern string }

// TestTrieFindsWhatMatches compares what the trie finds with kv.Match, pattern by
// pattern, while patterns are added and removed. In the end the trie must be empty.
func TestTrieFindsWhatMatches(t *testing.T) {
	for seed := range uint64(50) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			var x Trie[*entry]
			var added []*entry
			for range 400 {
				if n := len(added); n > 0 && rng.IntN(3) == 0 {
					i := rng.IntN(n)
					if !x.Remove(added[i].pattern, added[i]) || x.Remove(added[i].pattern, added[i]) {
						t.Fatal("a value was not removed exactly once")
					}
					added = slices.Delete(added, i, i+1)
				} else {
					e := &entry{randomPattern(rng, "a", "b", "c", "*", ">", "a*")}
					x.Add(e.pattern, e)
					added = append(added, e)
				}
				checkMatches(t, &x, added, randomPattern(rng, "a", "b", "c", "d", "a*"))
			}
			for _, e := range added {
				x.Remove(e.pattern, e)
			}
			if !x.IsEmpty() {
				t.Errorf("the trie is not empty: %+v", x.root)
			}
		})
	}
}

// randomPattern returns one to four of the tokens, with ">" only at the end.
func randomPattern(rng *rand.Rand, tokens ...string) string {
	var pattern []string
	for range 1 + rng.IntN(4) {
		token := tokens[rng.IntN(len(tokens))]
		if pattern = append(pattern, token); token == ">" {
			break
		}
	}
	return strings.Join(pattern, ".")
}

func checkMatches(t *testing.T, x *Trie[*entry], added []*entry, name string) {
	t.Helper()
	got := map[*entry]int{}
	for _, e := range x.Match(nil, name) {
		got[e]++
	}
	for _, e := range added {
		want := 0
		if kv.Match(e.pattern, name) {
			want = 1
		}
		if got[e] != want {
			t.Fatalf("%q found pattern %q %d times, want %d", name, e.pattern, got[e], want)
		}
		delete(got, e)
	}
	if len(got) > 0 {
		t.Fatalf("%q found %d removed values", name, len(got))
	}
}

func TestAValueWithTwoPatterns(t *testing.T) {
	var x Trie[string]
	x.Add("a.*", "v")
	x.Add("a.b", "v")
	if got := x.Match(nil, "a.b"); !slices.Equal(got, []string{"v", "v"}) {
		t.Errorf("both match: found %q", got)
	}
	x.Remove("a.*", "v")
	if got := x.Match(nil, "a.b"); !slices.Equal(got, []string{"v"}) {
		t.Errorf("after the removal of one: found %q", got)
	}
	if x.Remove("c.d", "v") || x.Remove(">", "v") {
		t.Error("Remove reported a pattern that was not added")
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	x := fill(1000)
	found := make([]int, 0, 16)
	if n := testing.AllocsPerRun(100, func() { found = x.Match(found[:0], "bucket.17.key") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if len(found) != 4 {
		t.Errorf("found %d values", len(found))
	}
}

// fill returns a trie of n literal patterns and three with wildcards.
func fill(n int) *Trie[int] {
	var x Trie[int]
	for i := range n {
		x.Add(fmt.Sprintf("bucket.%d.key", i), i)
	}
	x.Add(">", n)
	x.Add("bucket.*.key", n+1)
	x.Add("*.17.>", n+2)
	return &x
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{1, 1000} {
		b.Run(fmt.Sprintf("patterns=%d", n), func(b *testing.B) {
			x := fill(n)
			var found []int
			b.ReportAllocs()
			for b.Loop() {
				found = x.Match(found[:0], "bucket.17.key")
			}
		})
	}
}

func ExampleTrie() {
	var t Trie[string]
	t.Add("orders.*.created", "audit")
	t.Add("orders.>", "archive")
	t.Add("users.>", "search")
	found := t.Match(nil, "orders.7.created")
	slices.Sort(found)
	fmt.Println(found)
	// Output: [archive audit]
}
