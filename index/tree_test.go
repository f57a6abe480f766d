package index

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"kvd/kv"
)

// checkTree checks what the tree promises itself: keys in order and between
// their fences, every prefix right, no more skipped than the fences share.
func checkTree(t testing.TB, x *Index) {
	t.Helper()
	o := &x.tree
	var leaves, inners, count int
	last := ""
	var walk func(n *node, f fences, depth int)
	leafDepth := -1
	walk = func(n *node, f fences, depth int) {
		if most := f.skip(&x.keys); n.skip > most {
			t.Fatalf("a node skips %d bytes, its fences share %d", n.skip, most)
		}
		for i, ref := range n.refs[:n.count] {
			key := x.keys.text(ref)
			if n.prefixes[i] != prefixOf(key, n.skip) {
				t.Fatalf("prefix of %q after %d bytes is %x", key, n.skip, n.prefixes[i])
			}
			if f.low != 0 && key < x.keys.text(f.low) || f.high != 0 && key >= x.keys.text(f.high) {
				t.Fatalf("%q is outside its fences", key)
			}
			if i > 0 && x.keys.text(n.refs[i-1]) >= key {
				t.Fatalf("%q stands before %q", x.keys.text(n.refs[i-1]), key)
			}
		}
		if n.inner {
			inners++
			for i, kid := range n.kids() {
				switch {
				case i > int(n.count) && kid != nil:
					t.Fatalf("an inner node with %d keys has a kid at %d", n.count, i)
				case i <= int(n.count):
					walk(kid, f.within(n, i), depth+1)
				}
			}
			return
		}
		if leafDepth < 0 {
			leafDepth = depth
		}
		if leafDepth != depth {
			t.Fatalf("leaves at depths %d and %d", leafDepth, depth)
		}
		leaves++
		count += int(n.count)
		for _, ref := range n.refs[:n.count] {
			key := x.keys.text(ref)
			if key <= last {
				t.Fatalf("%q comes after %q", key, last)
			}
			last = key
		}
	}
	if o.root != nil {
		walk(o.root, fences{}, 0)
	}
	if count != o.count || leaves != o.leaves || inners != o.inners {
		t.Fatalf("%d keys, %d leaves, %d inner nodes; counted %d, %d, %d", count, leaves, inners, o.count, o.leaves, o.inners)
	}
}

func put(x *Index, key string, rev kv.Revision) {
	x.Apply(Hash(key), key, Version{Revision: rev, Op: kv.Put, Size: 1}, rev, nil)
}

func drop(x *Index, key string) { x.Trim(Hash(key), key, 1<<62, nil) }

// TestTreeOfManyKeys grows trees of three levels and takes them down again.
func TestTreeOfManyKeys(t *testing.T) {
	const n = 15_000 // three levels
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
				if x.tree.count != n || x.tree.inners < 2 {
					t.Fatalf("%d keys, %d inner nodes", x.tree.count, x.tree.inners)
				}
				for i := range n {
					drop(x, key(number((i+n/3)%n)))
					if i%(n/8) == 0 {
						checkTree(t, x)
					}
				}
				checkTree(t, x)
				if x.tree.leaves != 1 || x.tree.inners != 0 || x.keys.held != 0 {
					t.Fatalf("%d leaves, %d inner nodes, %d units of keys left", x.tree.leaves, x.tree.inners, x.keys.held)
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
	if fill := float64(n) / float64(x.tree.leaves*nodeItems); fill < 0.8 {
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
