package index

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestItemsAreInOrderOfText compares items of leaves and probes whose texts differ
// within the numbers of an item, behind them, and in length alone.
func TestItemsAreInOrderOfText(t *testing.T) {
	long := strings.Repeat("long/", 5)
	texts := []string{
		"\x00", "\x00\x00", "a", "a\x00", "a\x00\x00", "aa", "ab", "service.eu.orders.1", "service.eu.orders.2",
		long, long + "\x00", long + "\x00\x00", long + "a", long + "b", strings.Repeat("\xff", 24), strings.Repeat("\xff", 30),
	}
	slices.Sort(texts)
	var keys arena
	less := lessIn(&keys)
	items := make([]item, len(texts))
	for i, text := range texts {
		items[i] = itemOf(&(&leaf{bounds: bounds{high: keys.put(text, 0)}}).bounds, text)
	}
	last := lastItem(&leaf{})
	for i, text := range texts {
		p := new(probe).set(text)
		for j := range texts {
			if got := less(items[i], items[j]); got != (i < j) {
				t.Errorf("leaf %q < leaf %q is %v", text, texts[j], got)
			}
			if got := less(p, items[j]); got != (i < j) {
				t.Errorf("probe %q < leaf %q is %v", text, texts[j], got)
			}
			if got := less(items[j], p); got != (j <= i) {
				t.Errorf("leaf %q < probe %q is %v", texts[j], text, got)
			}
		}
		if !less(items[i], last) || less(last, items[i]) || !less(p, last) || less(last, p) {
			t.Errorf("the last leaf is not behind %q", text)
		}
	}
	if less(last, last) {
		t.Error("the last leaf is before itself")
	}
}

// TestACopiedLeafTakesThePlaceOfTheFirst looks leaves up by their separators after
// each was copied under a snapshot.
func TestACopiedLeafTakesThePlaceOfTheFirst(t *testing.T) {
	for _, prefix := range []string{"", strings.Repeat("long/", 9)} {
		x := New()
		const n = 3000
		for i := range n {
			put(x, fmt.Sprint(prefix, i), 1)
		}
		leaves := x.tree.leaves.Len()
		s := x.Snapshot()
		for i := range n {
			x.tree.own(x.tree.find(fmt.Sprint(prefix, i)))
		}
		checkTree(t, x)
		if got := x.tree.leaves.Len(); got != leaves {
			t.Errorf("%d leaves became %d", leaves, got)
		}
		x.tree.leaves.Ascend(func(i item) bool {
			if i.leaf().epoch != x.epoch {
				t.Errorf("a leaf is of epoch %d, now is %d", i.leaf().epoch, x.epoch)
			}
			return true
		})
		s.Release()
	}
}
