package jetstream

import (
	"slices"
	"strings"

	"kvd/kv"
)

// filtersOf returns what the server is asked for to get at least the keys that
// the patterns select: the patterns where none of them overlap, and otherwise,
// because the server refuses those, everything.
func filtersOf(patterns []string) ([]string, error) {
	for _, p := range patterns {
		if err := kv.CheckPattern(p); err != nil {
			return nil, err
		}
	}
	filters := slices.Clone(patterns) // nats.go overwrites what it is given
	slices.Sort(filters)
	filters = slices.Compact(filters)
	for i, p := range filters {
		if slices.ContainsFunc(filters[i+1:], func(q string) bool { return overlap(p, q) }) {
			return []string{">"}, nil
		}
	}
	return filters, nil
}

// overlap reports whether some key matches both patterns.
func overlap(p, q string) bool {
	for {
		pToken, pRest, pMore := strings.Cut(p, ".")
		qToken, qRest, qMore := strings.Cut(q, ".")
		switch {
		case pToken == ">" || qToken == ">":
			return true
		case pToken != qToken && pToken != "*" && qToken != "*", pMore != qMore:
			return false
		case !pMore:
			return true
		}
		p, q = pRest, qRest
	}
}
