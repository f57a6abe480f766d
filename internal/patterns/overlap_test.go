package patterns

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestFirstOverlap compares it with the definition, for lists of random patterns.
func TestFirstOverlap(t *testing.T) {
	overlaps := 0
	for seed := range uint64(3000) {
		rng := rand.New(rand.NewPCG(seed, 2))
		var list []string
		for range 2 + rng.IntN(5) {
			list = append(list, randomPattern(rng, "a", "b", "c", "d", "*", ">"))
		}
		p, q, found, exhausted := FirstOverlap(list)
		first := len(list)
		for i := range list {
			for j := range i {
				if overlap(list[i], list[j]) {
					first = min(first, i)
				}
			}
		}
		switch {
		case exhausted:
			t.Fatalf("seed %d: %q is too large", seed, list)
		case found != (first < len(list)):
			t.Fatalf("seed %d: %q: found is %v: %q, %q", seed, list, found, p, q)
		case found && (q != list[first] || !overlap(p, q)):
			t.Fatalf("seed %d: %q: %q and %q", seed, list, p, q)
		}
		if found {
			overlaps++
		}
		a, b := list[:1], list[1:]
		want := slices.ContainsFunc(b, func(q string) bool { return overlap(a[0], q) })
		for _, lists := range [][2][]string{{a, b}, {b, a}} {
			if any, exhausted := AnyOverlap(lists[0], lists[1]); any != want || exhausted {
				t.Fatalf("seed %d: %q: an overlap is %v, exhausted %v", seed, lists, any, exhausted)
			}
		}
	}
	if overlaps < 500 || overlaps > 2500 {
		t.Errorf("%d of 3000 lists have an overlap: the test is not much of one", overlaps)
	}
}

// overlap is the definition, pattern by pattern.
func overlap(p, q string) bool {
	a, b := strings.Split(p, "."), strings.Split(q, ".")
	for i := range min(len(a), len(b)) {
		switch {
		case a[i] == ">" || b[i] == ">":
			return true
		case a[i] != b[i] && a[i] != "*" && b[i] != "*":
			return false
		}
	}
	return len(a) == len(b)
}

// A list that leads every search into half of all branches is given up, in bounded time.
func TestFirstOverlapOfAHostileList(t *testing.T) {
	var list []string
	for i := range 20_000 {
		list = append(list, fmt.Sprintf("l%d.x", i))
	}
	for i := range 20_000 {
		list = append(list, fmt.Sprintf("*.y%d", i))
	}
	if _, _, found, exhausted := FirstOverlap(list); found || !exhausted {
		t.Errorf("found is %v, exhausted %v", found, exhausted)
	}
	if _, _, found, exhausted := FirstOverlap(list[:20_000]); found || exhausted {
		t.Errorf("without wildcards: found is %v, exhausted %v", found, exhausted)
	}
}
