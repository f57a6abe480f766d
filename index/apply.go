package index

import (
	"fmt"

	"kvd/kv"
	"kvd/kv/digest"
)

// change is a change of the versions of one key.
type change struct {
	hash    uint64        // of the key
	removed func(Version) // called for each version that is removed; nil: it is not called
}

// Apply makes v the newest version of key and removes the versions below floor. It
// calls removed for each of those, in no order, if removed is not nil. removed must
// not use the index. Apply panics if v.Revision is not above every revision of key.
func (x *Index) Apply(hash uint64, key string, v Version, floor kv.Revision, removed func(Version)) {
	s := x.table.find(hash, key, &x.keys)
	c := change{hash, removed}
	if s == nil {
		ref := x.add(hash, key, v, &c)
		x.tree.insert(key, ref)
	} else {
		if newest := x.rows.revision(s.row); v.Revision <= newest {
			panic(fmt.Sprintf("index: revision %d of %q applied after %d", v.Revision, key, newest))
		}
		x.supersede(s, v, floor, &c)
	}
	x.drain()
}

// Trim removes the versions of key below floor, and the key if none is left. removed
// is as for [Index.Apply].
func (x *Index) Trim(hash uint64, key string, floor kv.Revision, removed func(Version)) {
	s := x.table.find(hash, key, &x.keys)
	if s == nil {
		return
	}
	row, d := x.divide(s, floor)
	switch {
	case d.stay == 0:
		x.removeKey(*s, &change{hash, removed})
	case d.rest != 0:
		own := x.own(s)
		x.cut(d, own, &change{hash, removed})
		x.publish(s, row, d.stay, min(own, d.stay))
		if r, ok := x.ringOf(s.key); ok {
			r.keep(d.stay)
		}
	}
	x.drain()
}

// Remove removes the version of key at exactly that revision, which need not be the
// oldest or newest, and the key if none is left. It reports whether the version was
// there. removed is as for [Index.Apply].
func (x *Index) Remove(hash uint64, key string, rev kv.Revision, removed func(Version)) bool {
	s := x.table.find(hash, key, &x.keys)
	if s == nil {
		return false
	}
	above, id, below := x.around(s, rev)
	if id == 0 {
		return false
	}
	c := change{hash, removed}
	if len(above)+len(below) == 0 {
		x.removeKey(*s, &c)
	} else {
		x.excise(s, above, id, below, &c)
	}
	x.drain()
	return true
}

// Move changes the place of the version of key at exactly that revision. It reports
// whether the version was there and its place was from. Snapshots see the new place.
func (x *Index) Move(hash uint64, key string, rev kv.Revision, from, to Place) bool {
	s := x.table.find(hash, key, &x.keys)
	if s == nil {
		return false
	}
	row, kept := x.present(s)
	id := x.rows.atOrBelow(row, kept, rev)
	if id == 0 || x.rows.revision(id) != rev {
		return false
	}
	v := x.rows.version(id)
	if v.Place() != from {
		return false
	}
	if id == s.row {
		s.at = hintOf(to)
	}
	x.uses.add(from.Segment, v.Size, -1)
	x.uses.add(to.Segment, v.Size, 1)
	x.rows.move(id, to)
	return true
}

// Resize changes the size of the record of key at exactly that revision, in bytes. It reports
// whether the version was there. A snapshot may see the new size beside the old place, or the
// old beside the new.
func (x *Index) Resize(hash uint64, key string, rev kv.Revision, size uint32) bool {
	row, kept := x.lookup(hash, key)
	id := x.rows.atOrBelow(row, kept, rev)
	if id == 0 || x.rows.revision(id) != rev {
		return false
	}
	v := x.rows.version(id)
	x.account(v, -1)
	v.Size = size
	x.account(v, 1)
	x.rows.resize(id, size)
	return true
}

// add makes a key's entry, row and slot. It does not put the key into the tree.
func (x *Index) add(hash uint64, key string, v Version, c *change) (ref uint32) {
	row := x.rows.put(v, 0)
	ref = x.keys.put(key, row)
	x.table.insert(slot{tag: tagOf(hash), key: ref, row: row, at: hintOf(v.Place())})
	x.enqueue(row, ref, true)
	x.admit(v, c)
	x.live += puts(v.Op)
	return ref
}

// supersede puts v in front of the key's versions.
func (x *Index) supersede(s *slot, v Version, floor kv.Revision, c *change) {
	newest, d := x.divide(s, floor)
	own := x.own(s)
	x.live += puts(v.Op) - x.puts(newest)
	x.admit(v, c)
	unseen := own > 0 || len(x.open) == 0
	if d.stay == 0 && unseen && v.Deadline == 0 && !x.rows.hasDeadline(newest) {
		x.report(newest, c)
		x.removeAll(x.rows.older(newest), d.left-1, max(own, 1)-1, c)
		x.removeRing(s.key)
		x.rows.rewrite(newest, v) // in place, as nearly every put with a history of one
		x.publish(s, newest, 1, 1)
		return
	}
	x.cut(d, own, c)
	if d.stay == 0 {
		newest = 0
	}
	x.requeue(newest, s.key, false)
	row := x.rows.put(v, newest)
	x.enqueue(row, s.key, true)
	x.publish(s, row, d.stay+1, min(own, d.stay)+1)
	x.extendRing(s.key, d.stay, row)
}

// own returns how many rows of the key, from the newest on, no open snapshot can
// see, although snapshots are open. Those rows need not wait for a release: a key
// that changes all the time under a snapshot would else keep every version.
func (x *Index) own(s *slot) uint32 {
	h := x.heads.of(x.keys.top(s.key).Load())
	if h == nil || len(x.open) == 0 || h.epoch <= x.newestOpen() {
		return 0
	}
	return h.own
}

// division is a chain divided at a floor.
type division struct {
	stay uint32 // how many versions stay
	last uint32 // the row of the oldest of them
	rest uint32 // the row of the newest below the floor, 0: none
	left uint32 // at most how many are below
}

// divide divides the chain of a key at a floor, and returns the newest row.
func (x *Index) divide(s *slot, floor kv.Revision) (newest uint32, c division) {
	newest, kept := x.present(s)
	if r, ok := x.ringOf(s.key); ok {
		return newest, r.divide(&x.rows, floor)
	}
	c = division{rest: newest, left: kept}
	for c.rest != 0 && c.left > 0 && x.rows.revision(c.rest) >= floor {
		c.last = c.rest
		c.rest = x.rows.older(c.rest)
		c.stay++
		c.left--
	}
	if c.left == 0 {
		c.rest = 0
	}
	return newest, c
}

// cut removes the versions that do not stay. Under a snapshot it does not change the
// chain itself: the head that is published next has the number of rows kept.
func (x *Index) cut(d division, own uint32, c *change) {
	if d.rest == 0 {
		return
	}
	x.removeAll(d.rest, d.left, own-min(own, d.stay), c)
	if d.stay > 0 && len(x.open) == 0 {
		x.rows.cut(d.last, 0)
	}
}

// removeAll removes up to n versions from id on. The rows of the first own are free
// at once.
func (x *Index) removeAll(id, n, own uint32, c *change) {
	for ; id != 0 && n > 0; n-- {
		older := x.rows.older(id) // before the row is released
		x.report(id, c)
		if own > 0 {
			x.rows.remove(id)
			own--
		} else {
			x.retire(retiredRow, id)
		}
		id = older
	}
}

// admit counts a version that is added.
func (x *Index) admit(v Version, c *change) {
	x.account(v, 1)
	x.digest = x.digest.Add(digest.OfHash(c.hash, v.Revision, v.Created, v.Op))
}

// report takes a version out of the counts and its agenda, and reports it as removed.
func (x *Index) report(id uint32, c *change) {
	v := x.rows.version(id)
	x.dequeue(id)
	x.account(v, -1)
	x.digest = x.digest.Sub(digest.OfHash(c.hash, v.Revision, v.Created, v.Op))
	if c.removed != nil {
		c.removed(v)
	}
}

func (x *Index) account(v Version, n int) {
	x.versions += n
	x.bytes += int64(n) * int64(v.Size)
	x.uses.add(v.Segment, v.Size, n)
}

func (x *Index) puts(row uint32) int {
	if x.rows.isPut(row) {
		return 1
	}
	return 0
}

func puts(op kv.Operation) int {
	if op == kv.Put {
		return 1
	}
	return 0
}

// around returns the rows of a key's chain newer than rev, the one at rev (0 if
// there is none) and those older.
func (x *Index) around(s *slot, rev kv.Revision) (above []uint32, at uint32, below []uint32) {
	row, kept := x.present(s)
	chain := make([]uint32, 0, kv.MaxHistory)
	for ; row != 0 && kept > 0; kept-- {
		chain = append(chain, row)
		row = x.rows.older(row)
	}
	for i, id := range chain {
		if x.rows.revision(id) == rev {
			return chain[:i], id, chain[i+1:]
		}
	}
	return nil, 0, nil
}

// excise takes one of several versions out of a chain. It does not rewrite rows that
// a snapshot may follow: it copies those above.
func (x *Index) excise(s *slot, above []uint32, id uint32, below []uint32, c *change) {
	older := uint32(0)
	if len(below) > 0 {
		older = below[0]
	}
	newest := older
	if len(above) > 0 {
		newest = above[0]
	}
	x.live += x.puts(newest) - x.puts(s.row)
	own := uint32(len(above))
	switch {
	case len(above) == 0:
		x.requeue(newest, s.key, true)
	case len(x.open) == 0:
		x.rows.cut(above[len(above)-1], older)
	default:
		newest = older
		for i := len(above) - 1; i >= 0; i-- {
			newest = x.rows.put(x.rows.version(above[i]), newest)
			x.dequeue(above[i])
			x.enqueue(newest, s.key, i == 0)
			x.retire(retiredRow, above[i])
		}
	}
	x.removeRing(s.key)
	x.report(id, c)
	x.retire(retiredRow, id)
	x.publish(s, newest, uint32(len(above)+len(below)), own)
}

// removeKey removes all versions of a key and the key. Its heads and rows stay for
// the snapshots whose tree has the key.
func (x *Index) removeKey(s slot, c *change) {
	row, kept := x.present(&s)
	x.removeRing(s.key)
	x.live -= x.puts(row)
	x.removeAll(row, kept, 0, c)
	x.table.remove(s.tag, s.key)
	if x.removeLoaded(s.key) {
		return
	}
	x.tree.remove(x.keys.text(s.key))
	x.retire(retiredKey, s.key)
}

// publish makes row the newest of the key, with kept versions from there on. The
// first own rows were not there when the newest snapshot was taken. A head that a
// snapshot can see is not changed: a new one goes in front of it.
func (x *Index) publish(s *slot, row, kept, own uint32) {
	top := x.keys.top(s.key)
	s.at = x.rows.hint(row)
	if s.row == row && len(x.open) == 0 && top.Load() == row {
		return // rewritten in place: the entry's cache line stays clean
	}
	s.row = row
	h := x.heads.of(top.Load())
	switch {
	case h != nil && h.epoch > x.newestOpen():
		h.row, h.kept, h.own = row, kept, own
	case len(x.open) == 0:
		top.Store(row)
	default:
		id := x.heads.alloc()
		*x.heads.pages.at(id) = head{epoch: x.epoch, row: row, kept: kept, own: own, older: top.Load(), key: s.key}
		top.Store(id | headBit)
		x.retire(headToUnlink, id)
	}
}
