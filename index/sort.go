package index

import (
	"cmp"
	"slices"
	"strings"
)

// sorted is a key that is being sorted: eight bytes of it as a number, and its entry.
type sorted struct {
	prefix uint64
	ref    uint32
}

// runMin is the least number of keys with equal prefixes that are sorted by their next eight
// bytes. Fewer are compared as a whole.
const runMin = 16

// sortKeys returns the entries in ascending order of their keys, which differ.
func sortKeys(keys *arena, refs []uint32) []uint32 {
	all := make([]sorted, len(refs))
	for i, ref := range refs {
		all[i].ref = ref
	}
	sortFrom(keys, all, 0)
	order := make([]uint32, len(refs))
	for i := range all {
		order[i] = all[i].ref
	}
	return order
}

// sortFrom sorts keys that have their first skip bytes in common, or are shorter and differ in
// their lengths alone.
func sortFrom(keys *arena, all []sorted, skip int) {
	longer := false
	for i := range all {
		text := keys.text(all[i].ref)
		all[i].prefix = prefixOf(text[min(skip, len(text)):], 0)
		longer = longer || len(text) > skip+prefixSize
	}
	slices.SortFunc(all, func(a, b sorted) int { return cmp.Compare(a.prefix, b.prefix) })
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].prefix == all[0].prefix {
			n++
		}
		if run := all[:n]; n >= runMin && longer {
			sortFrom(keys, run, skip+prefixSize)
		} else if n > 1 {
			slices.SortFunc(run, func(a, b sorted) int { return strings.Compare(keys.text(a.ref), keys.text(b.ref)) })
		}
		all = all[n:]
	}
}
