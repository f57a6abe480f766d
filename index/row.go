package index

import (
	"slices"
	"sync/atomic"

	"kvd/kv"
)

// row is one version. The rows of a key form its chain, newest first. While a snapshot
// is open only place and older change, by atomic stores.
//
// A version with a deadline takes two rows: older names its extension. The extension
// holds the deadline in created and the older version in older. Its other fields are
// the links of an agenda, see deadline.go.
type row struct {
	revision uint64
	created  int64
	place    uint64 // packed, see pack
	size     uint32
	older    uint32 // 0: none
}

// Two rows share a cache line and none straddles two.
var _ = [1]struct{}{}[rowSize-32]

const rowSize = 8 + 8 + 8 + 4 + 4

type rows struct{ pool[row] }

// put makes a row of v in front of older.
func (r *rows) put(v Version, older uint32) uint32 {
	if v.Deadline != 0 {
		extension := r.alloc()
		*r.pages.at(extension) = row{created: v.Deadline, older: older}
		older = extension
	}
	id := r.alloc()
	*r.pages.at(id) = row{revision: uint64(v.Revision), created: v.Created, place: pack(v), size: v.Size, older: older}
	return id
}

// rewrite replaces the only version of a key by v, in its row, which no snapshot can
// reach. Neither version has a deadline.
func (r *rows) rewrite(id uint32, v Version) {
	*r.pages.at(id) = row{revision: uint64(v.Revision), created: v.Created, place: pack(v), size: v.Size}
}

func (r *rows) hasDeadline(id uint32) bool {
	return atomic.LoadUint64(&r.pages.at(id).place)&deadlineBit != 0
}

// remove takes back a row and its extension.
func (r *rows) remove(id uint32) {
	w := r.pages.at(id)
	if w.place&deadlineBit != 0 {
		r.release(w.older)
	}
	r.release(id)
}

func (r *rows) revision(id uint32) kv.Revision { return kv.Revision(r.pages.at(id).revision) }

func (r *rows) operation(id uint32) kv.Operation {
	return kv.Operation(atomic.LoadUint64(&r.pages.at(id).place) >> opShift & twoBits)
}

func (r *rows) isPut(id uint32) bool { return isPut(atomic.LoadUint64(&r.pages.at(id).place)) }

// older returns the next older version's row, 0 at the end of the chain.
func (r *rows) older(id uint32) uint32 { return atomic.LoadUint32(r.link(id)) }

// cut makes older the next older version.
func (r *rows) cut(id, older uint32) { atomic.StoreUint32(r.link(id), older) }

// cutAfter ends the chain after the first kept rows from id on.
func (r *rows) cutAfter(id, kept uint32) {
	older := r.older(id)
	for ; kept > 1 && older != 0; kept-- {
		id, older = older, r.older(older)
	}
	if older != 0 {
		r.cut(id, 0)
	}
}

func (r *rows) link(id uint32) *uint32 {
	w := r.pages.at(id)
	if atomic.LoadUint64(&w.place)&deadlineBit != 0 {
		w = r.pages.at(atomic.LoadUint32(&w.older))
	}
	return &w.older
}

// atOrBelow returns the newest of the kept rows from id on whose revision is at
// most rev, 0 if there is none.
func (r *rows) atOrBelow(id, kept uint32, rev kv.Revision) uint32 {
	for ; id != 0 && kept > 0; kept-- {
		if r.revision(id) <= rev {
			return id
		}
		id = r.older(id)
	}
	return 0
}

// appendVersions appends the kept versions from id on, oldest first.
func (r *rows) appendVersions(dst []Version, id, kept uint32) []Version {
	from := len(dst)
	for ; id != 0 && kept > 0; kept-- {
		dst = append(dst, r.version(id))
		id = r.older(id)
	}
	slices.Reverse(dst[from:])
	return dst
}

// move changes the place of the version.
func (r *rows) move(id uint32, to Place) {
	w := r.pages.at(id)
	atomic.StoreUint64(&w.place, w.place&^placeMask|packPlace(to))
}

// hint returns the hint of the version's place.
func (r *rows) hint(id uint32) hint {
	word := atomic.LoadUint64(&r.pages.at(id).place)
	return hintOf(unpackPlace(word))
}

// resize changes the size of the version's record.
func (r *rows) resize(id uint32, size uint32) { atomic.StoreUint32(&r.pages.at(id).size, size) }

// version unpacks a row.
func (r *rows) version(id uint32) Version {
	w := r.pages.at(id)
	place := atomic.LoadUint64(&w.place)
	at := unpackPlace(place)
	v := Version{
		Revision: kv.Revision(w.revision),
		Created:  w.created,
		Segment:  at.Segment,
		Offset:   at.Offset,
		Size:     atomic.LoadUint32(&w.size),
		Op:       kv.Operation(place >> opShift & twoBits),
		Reason:   kv.MarkerReason(place >> reasonShift & twoBits),
	}
	if place&deadlineBit != 0 {
		v.Deadline = r.pages.at(atomic.LoadUint32(&w.older)).created
	}
	return v
}
