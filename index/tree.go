package index

// tree orders the keys: a B+ tree with one item a key, whatever its history, so
// that only a key's first and last version touch it. The lock's holder writes
// it; a snapshot keeps a root and reads on, because a node that it can reach is
// copied before it is changed.
//
// Between the separators around a node, its fences, all keys share what the two
// fences share: that is what the node skips. Separators are entries of their
// own in the arena, so they may outlive the keys they were made from.
type tree struct {
	x      *Index
	root   *node
	count  int
	leaves int
	inners int
}

// fences bound a node's keys: low <= key < high. They are the separators beside
// the way down to it, 0 where there is none.
type fences struct{ low, high uint32 }

// within narrows f to kid i of n.
func (f fences) within(n *node, i int) fences {
	if i > 0 {
		f.low = n.refs[i-1]
	}
	if i < int(n.count) {
		f.high = n.refs[i]
	}
	return f
}

// skip returns how many bytes all keys between the fences share.
func (f fences) skip(keys *arena) uint16 {
	if f.low == 0 || f.high == 0 {
		return 0
	}
	return uint16(shared(keys.text(f.low), keys.text(f.high)))
}

func shared(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

func (t *tree) newNode(ofInner bool) *node {
	if !ofInner {
		t.leaves++
		return &node{epoch: t.x.epoch}
	}
	t.inners++
	n := &inner{node: node{epoch: t.x.epoch, inner: true}}
	return &n.node
}

// own makes the node in place the present's alone and returns it.
func (t *tree) own(place **node) *node {
	n := *place
	if n.epoch > t.x.newestOpen() {
		return n
	}
	c := n.copy()
	c.epoch = t.x.epoch
	*place = c
	return c
}

// insert adds a key that is not in the tree. Full nodes are split on the way
// down, so that there is room for a separator when one comes up.
func (t *tree) insert(key string, ref uint32) {
	if t.root == nil {
		t.root = t.newNode(false)
	}
	n := t.own(&t.root)
	if n.full() {
		t.root = t.newNode(true)
		t.root.kids()[0] = n
		n = t.root
		t.split(n, 0, fences{}, key)
	}
	keys := &t.x.keys
	f := fences{}
	for n.inner {
		i := n.kid(keys, key)
		if n.kids()[i].full() {
			t.own(&n.kids()[i])
			t.split(n, i, f.within(n, i), key)
			i = n.kid(keys, key)
		}
		f = f.within(n, i)
		n = t.own(&n.kids()[i])
	}
	at, _ := n.search(keys, key)
	n.insert(at, prefixOf(key, n.skip), ref)
	t.count++
}

// split divides kid i of n, which f bounds, to make room for key.
func (t *tree) split(n *node, i int, f fences, key string) {
	keys := &t.x.keys
	left := n.kids()[i]
	right := t.newNode(left.inner)
	right.skip = left.skip
	at := int(left.count) / 2
	if end, _ := left.search(keys, key); end == int(left.count) {
		at = int(left.count) * 7 / 8 // keys in ascending order leave full nodes behind
	}
	var separator uint32
	from := at // of what moves to the right
	if !left.inner {
		separator = keys.put(separate(keys.text(left.refs[at-1]), keys.text(left.refs[at])), 0)
	} else {
		separator = left.refs[at]
		from++
		copy(right.kids()[:], left.kids()[from:left.count+1])
		clear(left.kids()[from : left.count+1])
	}
	right.count = uint16(copy(right.refs[:], left.refs[from:left.count]))
	copy(right.prefixes[:], left.prefixes[from:left.count])
	left.count = uint16(at)

	n.insertKid(i+1, right)
	n.insert(i, prefixOf(keys.text(separator), n.skip), separator)
	left.rekey(keys, fences{f.low, separator}.skip(keys))
	right.rekey(keys, fences{separator, f.high}.skip(keys))
}

// separate returns the shortest string above low and not above high.
func separate(low, high string) string { return high[:shared(low, high)+1] }

// remove takes out a key that is in the tree.
func (t *tree) remove(key string) {
	t.removeFrom(t.own(&t.root), key, fences{})
	t.count--
	for t.root.inner && t.root.count == 0 {
		t.root = t.root.kids()[0]
		t.inners--
	}
}

func (t *tree) removeFrom(n *node, key string, f fences) {
	keys := &t.x.keys
	if !n.inner {
		at, found := n.search(keys, key)
		if !found {
			panic("index: a key is not in the tree")
		}
		n.remove(at)
		return
	}
	i := n.kid(keys, key)
	kid := t.own(&n.kids()[i])
	t.removeFrom(kid, key, f.within(n, i))
	if kid.count < nodeMin && n.count > 0 {
		t.merge(n, max(0, i-1), f)
	}
}

// merge joins kids i and i+1 of n if they fit in one node with room to spare,
// or one is empty.
func (t *tree) merge(n *node, i int, f fences) {
	keys := &t.x.keys
	left, right := n.kids()[i], n.kids()[i+1]
	sum := int(left.count + right.count)
	if left.inner {
		sum++ // the separator between them
	}
	if sum > nodeMerged && (left.count > 0 && right.count > 0 || sum > nodeItems) {
		return
	}
	left = t.own(&n.kids()[i])
	separator := n.refs[i]
	left.rekey(keys, fences{f.within(n, i).low, f.within(n, i+1).high}.skip(keys))
	if left.inner {
		copy(left.kids()[left.count+1:], right.kids()[:right.count+1])
		left.append(keys, separator)
		t.inners--
	} else {
		t.leaves--
	}
	for _, ref := range right.refs[:right.count] {
		left.append(keys, ref)
	}
	n.removeKid(i + 1)
	n.remove(i)
	if !left.inner {
		t.x.retire(retiredKey, separator)
	}
}

func (t *tree) memory() int64 { return int64(t.leaves)*leafMemory + int64(t.inners)*innerMemory }
