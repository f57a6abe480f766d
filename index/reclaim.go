package index

// drainLeast is how many items of the queue each write frees at least. A write frees
// more than it retires, so the queue shrinks once snapshots are released, and no
// write frees all at once.
const drainLeast = 16

// retire frees an item that the present cannot reach any more: at once if no snapshot
// can reach it, else later. While the queue is not empty every item goes through it,
// because unlinking a head that waits there walks the rows behind it.
func (x *Index) retire(w what, ref uint32) {
	if len(x.open) == 0 && x.queue.empty() && w != headToUnlink {
		x.free(w, ref)
		return
	}
	x.queue.push(retired{epoch: x.epoch, ref: ref, what: w})
	x.owed += 2
}

func (x *Index) free(w what, ref uint32) {
	switch w {
	case retiredRow:
		x.rows.remove(ref)
	case retiredKey:
		x.keys.remove(ref)
	case retiredHead:
		x.heads.release(ref)
	case headToUnlink:
		x.unlinkHead(ref)
	}
}

// drain frees retired items that no open snapshot is old enough for. Every write ends
// with it.
func (x *Index) drain() {
	budget := drainLeast + x.owed
	x.owed = 0
	for ; budget > 0 && !x.queue.empty(); budget-- {
		r := x.queue.head()
		if len(x.open) > 0 && r.epoch > x.open[0] {
			return
		}
		x.queue.pop()
		x.free(r.what, r.ref)
	}
}

// unlinkHead takes out a head that every open snapshot sees, or sees a newer one
// instead. If it is the newest head of its key, the chain is cut to the rows that the
// head keeps, and the entry's top becomes its row. If it is not the newest, it stays
// in the list until the newer ones are unlinked. A snapshot may be reading the head at
// this moment, so it is retired, not freed.
func (x *Index) unlinkHead(id uint32) {
	h := x.heads.pages.at(id)
	if top := x.keys.top(h.key); top.Load() == id|headBit {
		x.rows.cutAfter(h.row, h.kept)
		top.Store(h.row)
	}
	x.queue.push(retired{epoch: x.epoch, ref: id, what: retiredHead})
}
