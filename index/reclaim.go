package index

// drainLeast is how much each write reclaims at least; it always reclaims more
// than it retires, so the queue shrinks once snapshots are released, and no
// write pays for all.
const drainLeast = 16

// retire frees what is no longer reachable from the present: at once if no
// snapshot can reach it, else later. Everything goes through the queue while
// anything is in it, because a head that waits there may still walk the rows
// behind it.
func (x *Index) retire(w what, ref uint32) {
	if len(x.open) == 0 && x.queue.empty() && w != settledHead {
		x.free(w, ref)
		return
	}
	x.queue.push(retired{epoch: x.epoch, ref: ref, what: w})
	x.owed += 2
}

func (x *Index) free(w what, ref uint32) {
	switch w {
	case retiredRow:
		x.rows.release(ref)
	case retiredKey:
		x.keys.drop(ref)
	case retiredHead:
		x.heads.release(ref)
	case settledHead:
		x.settle(ref)
	}
}

// drain frees what has become unreachable. Every write ends with it.
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

// settle does away with a head once every snapshot open sees it or a newer one.
// If it is the newest, the chain is cut where it ended it, and the entry leads
// to its row. If it is not, it stays in the list behind those for which the same
// comes later. A snapshot may be reading it just now, so it is retired, not freed.
func (x *Index) settle(id uint32) {
	h := x.heads.pages.at(id)
	if top := x.keys.top(h.key); top.Load() == id|headBit {
		x.rows.cutAfter(h.row, h.kept)
		top.Store(h.row)
	}
	x.queue.push(retired{epoch: x.epoch, ref: id, what: retiredHead})
}
