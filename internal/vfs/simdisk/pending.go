package simdisk

import (
	"container/list"
	"slices"
)

// change is a change of the live view that a power cut may still lose. It consists
// of one or more items, each of which is lost or kept independently.
type change interface {
	items() int
	// crash repeats on an image those items that the choice keeps.
	crash(im *image)
}

// dataChange is a change of a file's bytes or size.
type dataChange interface {
	change
	redo(c *content)
}

// write is one WriteAt: an item for each sector, then one for the size if the
// file grew.
type write struct {
	file    *node
	first   int64  // its first sector
	sectors int64  // how many it touches
	data    []byte // of those sectors, as they were after this write; nil: zeros
	end     int64  // bytes of data at and beyond this offset are zero
	size    int64  // the file's new size; unchanged: noSize
}

const noSize = -1

func newWrite(file *node, c *content, off, n int64) *write {
	first, last := off/SectorSize, (off+n+SectorSize-1)/SectorSize
	w := &write{file: file, first: first, sectors: last - first, size: noSize}
	if !c.isZero(first*SectorSize, w.sectors*SectorSize) {
		w.data = make([]byte, w.sectors*SectorSize)
		c.read(w.data, first*SectorSize)
	}
	w.end = min(last*SectorSize, c.size)
	return w
}

func (w *write) items() int {
	if w.size != noSize {
		return int(w.sectors) + 1
	}
	return int(w.sectors)
}

func (w *write) redo(c *content) {
	if w.data != nil {
		c.write(w.data[:w.end-w.first*SectorSize], w.first*SectorSize)
	} else {
		c.zero(w.first*SectorSize, w.sectors*SectorSize)
	}
	if w.size != noSize {
		c.resize(w.size)
	}
}

// redoSector writes the bytes [from, to) of the i-th sector.
func (w *write) redoSector(c *content, i int64, from, to int) {
	off := (w.first + i) * SectorSize
	if w.data == nil {
		c.zero(off+int64(from), int64(to-from))
		return
	}
	c.write(w.data[i*SectorSize+int64(from):i*SectorSize+int64(to)], off+int64(from))
}

// resize is one Truncate or Allocate: a single item.
type resize struct {
	file   *node
	size   int64 // the file's new size; unchanged: noSize
	off, n int64 // the range allocated, if n > 0
}

func (r *resize) items() int { return 1 }

func (r *resize) redo(c *content) {
	if r.n > 0 {
		c.allocate(r.off, r.n)
	}
	if r.size != noSize {
		c.resize(r.size)
	}
}

// rename moves a node from one place to another: a single item. A creation has no
// old place, a removal has no new one.
type rename struct {
	node     *node
	from, to place
	synced   struct{ from, to bool } // which of the two directories was synced
}

func (r *rename) items() int { return 1 }

func (r *rename) redo(v view) {
	switch {
	case r.to.dir != nil:
		r.node.attach(v, r.to)
	case r.node.at(v, r.from):
		r.node.detach(v)
	}
}

// dirs returns the directories that the rename changes.
func (r *rename) dirs() []*node {
	switch {
	case r.from.dir == nil || r.from.dir == r.to.dir:
		return []*node{r.to.dir}
	case r.to.dir == nil:
		return []*node{r.from.dir}
	}
	return []*node{r.from.dir, r.to.dir}
}

// sync records that directory d was synced. It reports whether the rename waits for
// no other directory.
func (r *rename) sync(d *node) (durable bool) {
	r.synced.from = r.synced.from || r.from.dir == nil || r.from.dir == d
	r.synced.to = r.synced.to || r.to.dir == nil || r.to.dir == d
	return r.synced.from && r.synced.to
}

// uses reports whether the rename changes one of the other's names in directory d.
func (r *rename) uses(other *rename, d *node) bool {
	for _, p := range []place{other.from, other.to} {
		if p.dir == d && (p == r.from || p == r.to) {
			return true
		}
	}
	return false
}

// queueData adds a change of a file to the pending changes.
func (m *Disk) queueData(n *node, ch dataChange) {
	if !n.gone() {
		n.pending = append(n.pending, m.push(ch))
	}
}

// queueRename carries out a change of names in the live view and adds it to the
// pending changes.
func (m *Disk) queueRename(r *rename) {
	r.redo(live)
	r.node.entries++
	e := m.push(r)
	for _, d := range r.dirs() {
		d.pending = append(d.pending, e)
	}
}

func (m *Disk) push(ch change) *list.Element {
	m.items += ch.items()
	return m.pending.PushBack(ch)
}

func (m *Disk) unlist(e *list.Element) {
	m.items -= e.Value.(change).items()
	m.pending.Remove(e)
}

// syncFile makes all pending changes of a file durable.
func (m *Disk) syncFile(n *node) {
	for _, e := range n.pending {
		e.Value.(dataChange).redo(&n.faces[durable].content)
		m.unlist(e)
	}
	clear(n.pending)
	n.pending = n.pending[:0]
}

// dropBytes removes the pending bytes of a file, as a failed sync does: the live
// view keeps them, and no later sync writes them. Sizes are metadata and remain
// pending.
func (m *Disk) dropBytes(n *node) {
	n.pending = slices.DeleteFunc(n.pending, func(e *list.Element) bool {
		w, ok := e.Value.(*write)
		if !ok {
			return false
		}
		m.items -= int(w.sectors)
		if w.size != noSize {
			e.Value = &resize{file: w.file, size: w.size}
			return false
		}
		m.pending.Remove(e)
		return true
	})
}

// syncEntries makes all pending changes of a directory's names durable. A rename to or
// from another directory must wait for that directory too. There is one exception: if
// a later change depends on the rename, both become durable with everything before
// them, as in a journal.
func (m *Disk) syncEntries(d *node) {
	pending := slices.Clone(d.pending)
	for i, e := range pending {
		r := e.Value.(*rename)
		if r.sync(d) {
			m.commit(e)
		} else if slices.ContainsFunc(pending[i+1:], func(later *list.Element) bool {
			return later.Value.(*rename).uses(r, d)
		}) {
			m.commitUpTo(e)
		}
	}
}

// commitUpTo makes every change of names up to e durable.
func (m *Disk) commitUpTo(e *list.Element) {
	var names []*list.Element
	for at := e; at != nil; at = at.Prev() {
		if _, ok := at.Value.(*rename); ok {
			names = append(names, at)
		}
	}
	for _, at := range slices.Backward(names) {
		m.commit(at)
	}
}

// commit makes one change of names durable.
func (m *Disk) commit(e *list.Element) {
	r := e.Value.(*rename)
	var replaced *node
	if r.to.dir != nil {
		replaced = r.to.dir.child(durable, r.to.name)
	}
	r.redo(durable)
	m.withdraw(e)
	m.discardPending(r.node)
	if replaced != nil {
		m.discardPending(replaced)
	}
}

// withdraw removes a change of names from the lists.
func (m *Disk) withdraw(e *list.Element) {
	r := e.Value.(*rename)
	for _, d := range r.dirs() {
		if i := slices.Index(d.pending, e); i >= 0 {
			d.pending = slices.Delete(d.pending, i, i+1)
		}
	}
	r.node.entries--
	m.unlist(e)
}

// discardPending removes what is pending for a node that no view can show again, and
// for the nodes that only it contained.
func (m *Disk) discardPending(n *node) {
	if !n.gone() {
		return
	}
	pending := n.pending
	n.pending = nil
	if !n.dir {
		for _, e := range pending {
			m.unlist(e)
		}
		return
	}
	// All of this was issued before the directory's own removal. So a caller that goes
	// through the changes in order has passed it already.
	for _, e := range pending {
		// From here on the rename waits for its other directory alone.
		if r := e.Value.(*rename); r.sync(n) {
			m.commit(e)
		}
	}
	for _, e := range slices.Clone(n.faces[durable].entries) {
		e.node.detach(durable)
		m.discardPending(e.node)
	}
}
