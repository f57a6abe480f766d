package index

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"kvd/kv"
)

// checkTree checks what the tree promises itself: keys in order and between
// their bounds, every prefix right, no more skipped than the bounds share, and
// every item found again by its separator.
func checkTree(t testing.TB, x *Index) {
	t.Helper()
	o := &x.tree
	if o.leaves == nil {
		return
	}
	count, last, low := 0, "", uint32(0)
	o.leaves.Ascend(func(i item) bool {
		l := i.leaf()
		want := lastItem(l)
		if l.high != 0 {
			want = itemOf(i.of, x.keys.text(l.high))
		}
		if i != want {
			t.Fatalf("an item is %v, by its leaf it should be %v", i, want)
		}
		if l.low != low || l.high == ofProbe {
			t.Fatalf("a leaf begins at entry %d and ends at %d, the one before ends at %d", l.low, l.high, low)
		}
		low = l.high
		if l.skip > 0 && int(l.skip) > shared(x.keys.text(l.low), x.keys.text(l.high)) {
			t.Fatalf("a leaf skips %d bytes", l.skip)
		}
		for i, ref := range l.refs[:l.count] {
			key := x.keys.text(ref)
			if l.prefixes[i] != l.prefix(key) {
				t.Fatalf("prefix of %q after %d bytes is %x", key, l.skip, l.prefixes[i])
			}
			if l.low != 0 && key < x.keys.text(l.low) || l.high != 0 && key >= x.keys.text(l.high) {
				t.Fatalf("%q is outside its bounds", key)
			}
			if key <= last {
				t.Fatalf("%q comes after %q", key, last)
			}
			last = key
		}
		count += int(l.count)
		return true
	})
	if low != 0 || count != o.count {
		t.Fatalf("%d keys up to entry %d; counted %d", count, low, o.count)
	}
}

func put(x *Index, key string, rev kv.Revision) {
	x.Apply(Hash(key), key, Version{Revision: rev, Op: kv.Put, Size: 1}, rev, nil)
}

func drop(x *Index, key string) { x.Trim(Hash(key), key, 1<<62, nil) }

// TestTreeOfManyKeys grows trees of two levels and takes them down again.
func TestTreeOfManyKeys(t *testing.T) {
	const n = 15_000 // two levels
	orders := map[string]func(i int) int{
		"ascending":  func(i int) int { return i },
		"descending": func(i int) int { return n - 1 - i },
		"random":     func() func(int) int { p := rand.New(rand.NewPCG(7, 7)).Perm(n); return func(i int) int { return p[i] } }(),
	}
	shapes := map[string]func(i int) string{
		"number":       func(i int) string { return fmt.Sprintf("%06d", i) },
		"long prefix":  func(i int) string { return strings.Repeat("prefix.", 20) + fmt.Sprintf("%06d.tail", i) },
		"many tokens":  func(i int) string { return fmt.Sprintf("service.%d.%d.%d", i%3, i%50, i) },
		"equal starts": func(i int) string { return strings.Repeat("x", i%1000) + fmt.Sprint(i/1000+1) },
	}
	for shape, key := range shapes {
		for order, number := range orders {
			t.Run(shape+"/"+order, func(t *testing.T) {
				x := New()
				for i := range n {
					put(x, key(number(i)), kv.Revision(i+1))
				}
				checkTree(t, x)
				if x.tree.count != n || x.tree.leaves.Len() < 2*treeDegree {
					t.Fatalf("%d keys, %d leaves", x.tree.count, x.tree.leaves.Len())
				}
				for i := range n {
					drop(x, key(number((i+n/3)%n)))
					if i%(n/8) == 0 {
						checkTree(t, x)
					}
				}
				checkTree(t, x)
				if x.tree.leaves.Len() != 1 || x.keys.held != 0 {
					t.Fatalf("%d leaves, %d units of keys left", x.tree.leaves.Len(), x.keys.held)
				}
			})
		}
	}
}

func TestAscendingKeysFillNodes(t *testing.T) {
	x := New()
	const n = 50_000
	for i := range n {
		put(x, fmt.Sprintf("%08d", i), kv.Revision(i+1))
	}
	if fill := float64(n) / float64(x.tree.leaves.Len()*leafKeys); fill < 0.8 {
		t.Fatalf("leaves are %.2f full", fill)
	}
}

func TestSeparate(t *testing.T) {
	for _, c := range []struct{ low, high, want string }{
		{"a", "b", "b"},
		{"a", "aa", "aa"},
		{"abc", "abdef", "abd"},
		{"service.eu.9", "service.us.0", "service.u"},
	} {
		if got := separate(c.low, c.high); got != c.want || got <= c.low || got > c.high {
			t.Errorf("separate(%q, %q) = %q, want %q", c.low, c.high, got, c.want)
		}
	}
}
