package patterns

import (
	"fmt"
	"slices"
	"testing"

	"kvd/kv"
)

// TestCovers compares Covers with the names that patterns of up to three tokens match. The
// names have a token that stands in no pattern, and one token more than any pattern.
func TestCovers(t *testing.T) {
	all := sequences([]string{"a", "b", "*", ">"}, 3)
	all = slices.DeleteFunc(all, func(p string) bool { return kv.CheckPattern(p) != nil })
	names := sequences([]string{"a", "b", "c"}, 4)
	covered := 0
	for _, pattern := range all {
		for _, other := range all {
			want := !slices.ContainsFunc(names, func(name string) bool { return kv.Match(other, name) && !kv.Match(pattern, name) })
			if got := Covers(pattern, other); got != want {
				t.Errorf("Covers(%q, %q) is %v", pattern, other, got)
			}
			if want {
				covered++
			}
		}
	}
	if covered <= len(all) || covered == len(all)*len(all) {
		t.Errorf("%d of %d pairs are covered", covered, len(all)*len(all))
	}
}

// sequences returns all names of one to n of the tokens.
func sequences(tokens []string, n int) []string {
	all := slices.Clone(tokens)
	for last := all; n > 1; n-- {
		var longer []string
		for _, name := range last {
			for _, token := range tokens {
				longer = append(longer, name+"."+token)
			}
		}
		all = append(all, longer...)
		last = longer
	}
	return all
}

func ExampleCovers() {
	fmt.Println(Covers("app.>", "app.*.name"), Covers("app.*", "app.>"))
	// Output: true false
}
