package index

import (
	"math/bits"
	"unsafe"

	"kvd/kv"
)

// Agenda is one of the two queues of versions with a deadline.
type Agenda uint8

// The agendas. The deadline of a put that is not the newest of its key is on
// none: a newer record lifts it.
const (
	Expiring Agenda = iota // puts that are the newest of their key
	Lapsing                // purge markers
	agendas
)

// queue orders versions by deadline: a hierarchical timing wheel whose lists
// run through the rows that hold the deadlines, so that it costs nothing more
// for each. A version is in the slot of the highest digit in which its deadline
// differs from cursor; as time comes to a slot its versions go to lower levels,
// and once it has passed, to the list of those that are due.
//
// Digits are base 64, of nanoseconds: what is due is exact, and a sweep a few
// times a second moves each version three or four times in its life.
type queue struct {
	cursor   uint64 // unix ns; every deadline in a slot is at or after it
	occupied [wheelLevels]uint64
	slots    [wheelLevels*wheelSlots + 1]uint32 // heads of lists; the last of what is due
	count    int
	ripe     uint64 // the highest revision that was ever due
}

const (
	wheelBits   = 6
	wheelSlots  = 1 << wheelBits
	wheelLevels = (63 + wheelBits - 1) / wheelBits
	dueSlot     = wheelLevels * wheelSlots

	unqueued    = 0 // the location of what is in no list; others are its slot + 1, with the agenda above
	agendaShift = 16
	slotMask    = 1<<agendaShift - 1
)

// An extension's row has no version of its own, so its fields are the queue's:
//
//	revision  the list's next extension, and above 32 bits the one before
//	place     the row that it extends, and above 32 bits the key
//	size      its location
//
// Snapshots read created and older alone.
func (w *row) next() uint32             { return uint32(w.revision) }
func (w *row) before() uint32           { return uint32(w.revision >> 32) }
func (w *row) setNext(id uint32)        { w.revision = w.revision&^(1<<32-1) | uint64(id) }
func (w *row) setBefore(id uint32)      { w.revision = w.revision&(1<<32-1) | uint64(id)<<32 }
func (w *row) owner() (row, key uint32) { return uint32(w.place), uint32(w.place >> 32) }

func instant(deadline int64) uint64 { return uint64(max(deadline, 0)) }

// enqueue puts a row of the key onto the agenda where it belongs, if it has a
// deadline.
func (x *Index) enqueue(id, key uint32, newest bool) {
	if !x.rows.hasDeadline(id) {
		return
	}
	a := Lapsing
	switch op := x.rows.operation(id); {
	case op == kv.Put && newest:
		a = Expiring
	case op != kv.Purge:
		return
	}
	if x.queues[a] == nil {
		x.queues[a] = new(queue)
	}
	extension := x.rows.pages.at(id).older
	x.rows.pages.at(extension).place = uint64(id) | uint64(key)<<32
	x.queues[a].place(&x.rows, a, extension)
	x.queues[a].count++
}

// dequeue takes a row out of its agenda, if it is in one.
func (x *Index) dequeue(id uint32) {
	if !x.rows.hasDeadline(id) {
		return
	}
	extension := x.rows.pages.at(id).older
	if at := x.rows.pages.at(extension).size; at != unqueued {
		q := x.queues[at>>agendaShift]
		q.unlink(&x.rows, extension)
		q.count--
	}
}

// requeue moves a row, 0 for none, that became the newest of its key, or ceased
// to be.
func (x *Index) requeue(id, key uint32, newest bool) {
	if id != 0 && x.rows.hasDeadline(id) {
		x.dequeue(id)
		x.enqueue(id, key, newest)
	}
}

// place puts an extension into the slot where it belongs.
func (q *queue) place(rows *rows, a Agenda, extension uint32) {
	slot := q.slotOf(instant(rows.pages.at(extension).created))
	if slot != dueSlot {
		q.occupied[slot/wheelSlots] |= 1 << (slot % wheelSlots)
	}
	q.push(rows, a, extension, slot)
}

// push puts an extension in front of a list.
func (q *queue) push(rows *rows, a Agenda, extension uint32, slot int) {
	w, head := rows.pages.at(extension), q.slots[slot]
	w.revision, w.size = uint64(head), uint32(a)<<agendaShift|uint32(slot+1)
	if head != 0 {
		rows.pages.at(head).setBefore(extension)
	}
	q.slots[slot] = extension
	if slot == dueSlot {
		owner, _ := w.owner()
		q.ripe = max(q.ripe, rows.pages.at(owner).revision)
	}
}

func (q *queue) slotOf(at uint64) int {
	if at < q.cursor {
		return dueSlot
	}
	level := max(bits.Len64(at^q.cursor)-1, 0) / wheelBits
	return level*wheelSlots + int(at>>(level*wheelBits)%wheelSlots)
}

// unlink takes an extension out of its list.
func (q *queue) unlink(rows *rows, extension uint32) {
	w := rows.pages.at(extension)
	slot := int(w.size&slotMask) - 1
	next, before := w.next(), w.before()
	if next != 0 {
		rows.pages.at(next).setBefore(before)
	}
	if before != 0 {
		rows.pages.at(before).setNext(next)
	} else if q.slots[slot] = next; next == 0 && slot != dueSlot {
		q.occupied[slot/wheelSlots] &^= 1 << (slot % wheelSlots)
	}
	w.revision, w.size = 0, unqueued
}

// first returns the slot that begins first and when; ok is false if all are
// empty. Of two that begin together it is the higher one, which may hold what
// belongs into the lower.
func (q *queue) first() (slot int, begins uint64, ok bool) {
	for level := wheelLevels - 1; level >= 0; level-- {
		if q.occupied[level] == 0 {
			continue
		}
		n := bits.TrailingZeros64(q.occupied[level])
		above := (level + 1) * wheelBits
		at := q.cursor>>above<<above | uint64(n)<<(level*wheelBits)
		if !ok || at < begins {
			slot, begins, ok = level*wheelSlots+n, at, true
		}
	}
	return slot, begins, ok
}

// advance brings the queue to now, moving at most budget extensions, and reports
// whether it got there. Where a slot begins, the cursor enters it: what is placed
// anew then goes below. Where it also ends by now, all of it is due.
func (q *queue) advance(rows *rows, a Agenda, now uint64, budget int) bool {
	for {
		slot, begins, ok := q.first()
		if !ok || begins > now {
			q.cursor = max(q.cursor, now)
			return true
		}
		q.cursor = max(q.cursor, begins)
		passed := begins+(1<<(slot/wheelSlots*wheelBits)-1) <= now
		for ; q.slots[slot] != 0; budget-- {
			if budget == 0 {
				return false
			}
			extension := q.slots[slot]
			q.unlink(rows, extension)
			if passed {
				q.push(rows, a, extension, dueSlot)
			} else {
				q.place(rows, a, extension)
			}
		}
	}
}

// Advance brings an agenda to now, in unix nanoseconds, and reports whether it
// got there: it moves at most budget versions, and is to be called again where
// that is not enough. now must not fall.
func (x *Index) Advance(a Agenda, now int64, budget int) bool {
	q := x.queues[a]
	return q == nil || q.advance(&x.rows, a, instant(now), budget)
}

// Due yields versions whose deadline was passed as of the last Advance, in no
// order, until yield returns false. They stay on the agenda until they are
// dropped. A read; the key is the index's, valid until yield returns.
func (x *Index) Due(a Agenda, yield func(key []byte, v Version) bool) {
	q := x.queues[a]
	if q == nil {
		return
	}
	for extension := q.slots[dueSlot]; extension != 0; {
		w := x.rows.pages.at(extension)
		extension = w.next()
		if row, key := w.owner(); !yield(x.keys.key(key), x.rows.version(row)) {
			return
		}
	}
}

// Ripe returns a revision that no version which was ever due on the agenda
// exceeds, 0 if none was. A read.
func (x *Index) Ripe(a Agenda) kv.Revision {
	if q := x.queues[a]; q != nil {
		return kv.Revision(q.ripe)
	}
	return 0
}

// NextDeadline returns an instant, in unix nanoseconds, before which nothing on
// the agenda is due, and false if nothing is on it. A read.
func (x *Index) NextDeadline(a Agenda) (at int64, ok bool) {
	q := x.queues[a]
	if q == nil || q.count == 0 {
		return 0, false
	}
	if q.slots[dueSlot] != 0 {
		return int64(q.cursor), true
	}
	_, begins, _ := q.first()
	return int64(max(begins, q.cursor)), true
}

// Deadlines returns how many versions are on an agenda. A read.
func (x *Index) Deadlines() (n int) {
	for _, q := range x.queues {
		if q != nil {
			n += q.count
		}
	}
	return n
}

func (x *Index) queueMemory() (n int64) {
	for _, q := range x.queues {
		if q != nil {
			n += int64(unsafe.Sizeof(*q))
		}
	}
	return n
}
