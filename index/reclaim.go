package index

import "sync/atomic"

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

// settle takes a head out of its key's list: every snapshot open sees it or
// something newer. The chain is cut where the head ended it, and whoever led to
// the head leads to its row. A snapshot may be reading the head just now, so it
// is retired, not freed.
func (x *Index) settle(id uint32) {
	h := x.heads.pages.at(id)
	last := h.row
	for n := h.kept; n > 1; n-- {
		older := x.rows.older(last)
		if older == 0 {
			break
		}
		last = older
	}
	if x.rows.older(last) != 0 {
		x.rows.cut(last, 0)
	}
	top := x.keys.top(h.key)
	if top.Load() == id|headBit {
		top.Store(h.row)
	} else {
		newer := x.heads.of(top.Load())
		for newer.older != id|headBit {
			newer = x.heads.of(newer.older)
		}
		atomic.StoreUint32(&newer.older, h.row)
	}
	x.queue.push(retired{epoch: x.epoch, ref: id, what: retiredHead})
}
