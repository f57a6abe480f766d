package index

// tree orders the keys. Its items are leaves of up to 126 keys: google/btree keeps
// the leaves in order, splits and joins its own nodes and shares them with clones.
// A key has one place in a leaf, whatever its history, so a further version of a key
// does not touch the tree. btree changes only when a leaf is split, joined or copied.
//
// The tree is changed under the index's lock held alone. A snapshot keeps a clone and
// reads it without the lock. A leaf that a clone can reach is copied before it is
// changed, see own.
//
// Separators are entries of their own in the arena, so they may outlive the keys that
// they were made from. They are retired like keys, after the clones that can reach
// them.
type tree struct {
	x      *Index
	leaves *leaves // nil until there is a key
	count  int     // of keys

	// State of one search, kept here so that a search does not allocate.
	probe probe
	found item
	take  func(item) bool // stores found
}

func (t *tree) init() {
	t.leaves = newLeaves(&t.x.keys)
	t.take = func(i item) bool {
		t.found = i
		return false
	}
	t.leaves.ReplaceOrInsert(lastItem(&leaf{epoch: t.x.epoch}))
}

// find returns the item of the leaf between whose bounds a key lies.
func (t *tree) find(key string) item {
	t.leaves.AscendGreaterOrEqual(t.probe.set(key), t.take)
	return t.found
}

// before returns the item of the last leaf whose keys are all below key.
func (t *tree) before(key string) item {
	t.leaves.DescendLessOrEqual(t.probe.set(key), t.take)
	return t.found
}

// own returns the item's leaf if no open snapshot can reach it, else a copy that has
// taken its place in the tree.
func (t *tree) own(i item) *leaf {
	l := i.leaf()
	if l.epoch > t.x.newestOpen() {
		return l
	}
	c := *l
	c.epoch = t.x.epoch
	i.of = &c.bounds
	t.leaves.ReplaceOrInsert(i)
	return &c
}

// insert adds a key that is not in the tree. It returns where the key is.
func (t *tree) insert(key string, ref uint32) (l *leaf, at int) {
	if t.leaves == nil {
		t.init()
	}
	l = t.own(t.find(key))
	if l.full() {
		l = t.split(l, key)
	}
	at, _ = l.search(&t.x.keys, key)
	l.insert(at, l.prefix(key), ref)
	t.count++
	return l, at
}

// append adds a key behind the last one of a leaf, which is below it, and reports whether it
// belongs there and there is room. Nothing may have changed the tree since insert returned l.
func (t *tree) append(l *leaf, key string, ref uint32) bool {
	if l.full() || l.high != 0 && key >= t.x.keys.text(l.high) {
		return false
	}
	l.insert(int(l.count), l.prefix(key), ref)
	t.count++
	return true
}

// split moves the lower keys of a leaf to a new one before it, to make room for
// key, and returns the leaf that key belongs to.
func (t *tree) split(l *leaf, key string) *leaf {
	keys := &t.x.keys
	n := int(l.count) / 2
	if end, _ := l.search(keys, key); end == int(l.count) {
		n = int(l.count) * 7 / 8 // keys in ascending order leave full leaves behind
	}
	separator := keys.put(separate(keys.text(l.refs[n-1]), keys.text(l.refs[n])), 0)
	before := &leaf{bounds: bounds{low: l.low, high: separator}, epoch: t.x.epoch, skip: l.skip}
	l.moveTo(before, n)
	l.low = separator
	before.rekey(keys)
	l.rekey(keys)
	text := keys.text(separator)
	t.leaves.ReplaceOrInsert(itemOf(&before.bounds, text))
	if key < text {
		return before
	}
	return l
}

// separate returns the shortest string above low and not above high.
func separate(low, high string) string { return high[:shared(low, high)+1] }

// remove takes out a key that is in the tree.
func (t *tree) remove(key string) {
	i := t.find(key)
	l := t.own(i)
	at, found := l.search(&t.x.keys, key)
	if !found {
		panic("index: a key is not in the tree")
	}
	l.remove(at)
	t.count--
	if l.count < leafMin {
		i.of = &l.bounds
		t.join(i)
	}
}

// join moves the keys of a leaf to the leaf behind it, if both fit into one leaf with
// room to spare, or one is empty. If the leaf is the last, the keys of the leaf before
// move to it.
func (t *tree) join(left item) {
	keys := &t.x.keys
	right := left
	switch l := left.leaf(); {
	case l.high != 0:
		right = t.find(keys.text(l.high))
	case l.low != 0:
		left = t.before(keys.text(l.low))
	default:
		return // the only one
	}
	l, r := left.leaf(), right.leaf()
	if sum := int(l.count + r.count); sum > leafJoined && (l.count > 0 && r.count > 0 || sum > leafKeys) {
		return
	}
	r = t.own(right)
	r.low = l.low
	r.rekey(keys)
	r.prepend(keys, l)
	t.leaves.Delete(left)
	t.x.retire(retiredKey, l.high)
}

// ascend calls fn for the keys from from on, those of one leaf after the other, until it
// returns false. fn must not change refs.
func ascend(all *leaves, keys *arena, from string, fn func(refs []uint32) bool) {
	if all == nil {
		return
	}
	all.AscendGreaterOrEqual(new(probe).set(from), func(i item) bool {
		refs := i.leaf().from(keys, from)
		from = "" // the leaves that follow hold larger keys only
		return fn(refs)
	})
}

// descend calls fn for the keys below to, in descending order, those of one leaf after the other,
// until it returns false. An empty to is above all keys. The slice is valid until fn returns.
func descend(all *leaves, keys *arena, to string, fn func(refs []uint32) bool) {
	if all == nil {
		return
	}
	var room [leafKeys]uint32
	show := func(refs []uint32) bool {
		down := room[:len(refs)]
		for i, ref := range refs {
			down[len(refs)-1-i] = ref
		}
		return fn(down)
	}
	whole := func(i item) bool {
		l := i.leaf()
		return show(l.refs[:l.count])
	}
	if to == "" {
		all.Descend(whole)
		return
	}
	at := new(probe).set(to)
	more := true
	all.AscendGreaterOrEqual(at, func(i item) bool { // the leaf between whose bounds to lies
		l := i.leaf()
		n, _ := l.search(keys, to)
		more = show(l.refs[:n])
		return false
	})
	if more {
		all.DescendLessOrEqual(at, whole)
	}
}

// find returns the entry of key, 0 if the leaves do not have it.
func find(all *leaves, keys *arena, key string) (ref uint32) {
	if all == nil {
		return 0
	}
	all.AscendGreaterOrEqual(new(probe).set(key), func(i item) bool {
		l := i.leaf()
		if at, found := l.search(keys, key); found {
			ref = l.refs[at]
		}
		return false
	})
	return ref
}

func (t *tree) memory() int64 {
	if t.leaves == nil {
		return 0
	}
	return int64(t.leaves.Len()) * (leafMemory + itemMemory)
}
