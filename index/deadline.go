package index

import (
	"math"
	"math/bits"
	"unsafe"

	"kvd/kv"
)

// Agenda is one of the two queues of versions with a deadline.
type Agenda uint8

// The agendas. A put that is not the newest version of its key is on no agenda: its
// deadline has no effect any more.
const (
	ExpiringPuts    Agenda = iota // puts that are the newest of their key
	ExpiringMarkers               // purge markers
	agendas
)

// queue orders versions by deadline. It is a hierarchical timing wheel. Its lists
// run through the rows that hold the deadlines, so a version costs no further
// memory. A version is in the list of the highest digit in which its deadline
// differs from cursor. When the cursor comes to a list, its versions move to lower
// levels. When the cursor has passed a list, its versions are due and move to the
// last list.
//
// Digits are base 64, of nanoseconds, so the set of due versions is exact. Where the
// queue advances a few times a second, each version moves three or four times.
type queue struct {
	cursor    uint64 // unix ns; every deadline in a list but the last is at or after it
	occupied  [wheelLevels]uint64
	lists     [wheelLevels*wheelLists + 1]uint32 // the first extension of each; the last list is of those that are due
	count     int
	newestDue uint64 // the highest revision that was ever due
	delayUpTo int64  // unix ns: versions created up to then are due later by delay
	delay     int64  // ns
}

const (
	wheelBits   = 6
	wheelLists  = 1 << wheelBits
	wheelLevels = (63 + wheelBits - 1) / wheelBits
	dueList     = wheelLevels * wheelLists

	unqueued    = 0 // the location of an extension in no list; others are the list + 1, with the agenda above
	agendaShift = 16
	listMask    = 1<<agendaShift - 1
)

// An extension's row has no version of its own, so the queue uses its fields:
//
//	revision  the list's next extension, and above 32 bits the one before
//	place     the row that it extends, and above 32 bits the key
//	size      its location
//
// Snapshots read created and older only.
func (w *row) next() uint32             { return uint32(w.revision) }
func (w *row) before() uint32           { return uint32(w.revision >> 32) }
func (w *row) setNext(id uint32)        { w.revision = w.revision&^(1<<32-1) | uint64(id) }
func (w *row) setBefore(id uint32)      { w.revision = w.revision&(1<<32-1) | uint64(id)<<32 }
func (w *row) owner() (row, key uint32) { return uint32(w.place), uint32(w.place >> 32) }

func instant(deadline int64) uint64 { return uint64(max(deadline, 0)) }

// enqueue puts a row of the key onto its agenda, if it has a deadline and an agenda.
func (x *Index) enqueue(id, key uint32, newest bool) {
	if !x.rows.hasDeadline(id) {
		return
	}
	a := ExpiringMarkers
	switch op := x.rows.operation(id); {
	case op == kv.Put && newest:
		a = ExpiringPuts
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

// requeue moves a row, 0 for none, that became the newest of its key or is no longer
// the newest.
func (x *Index) requeue(id, key uint32, newest bool) {
	if id != 0 && x.rows.hasDeadline(id) {
		x.dequeue(id)
		x.enqueue(id, key, newest)
	}
}

// place puts an extension into the list of its deadline.
func (q *queue) place(rows *rows, a Agenda, extension uint32) {
	list := q.listOf(q.due(rows, extension))
	if list != dueList {
		q.occupied[list/wheelLists] |= 1 << (list % wheelLists)
	}
	q.push(rows, a, extension, list)
}

// push puts an extension in front of a list.
func (q *queue) push(rows *rows, a Agenda, extension uint32, list int) {
	w, head := rows.pages.at(extension), q.lists[list]
	w.revision, w.size = uint64(head), uint32(a)<<agendaShift|uint32(list+1)
	if head != 0 {
		rows.pages.at(head).setBefore(extension)
	}
	q.lists[list] = extension
	if list == dueList {
		owner, _ := w.owner()
		q.newestDue = max(q.newestDue, rows.pages.at(owner).revision)
	}
}

// due returns the instant at which an extension is due: its deadline, or later.
func (q *queue) due(rows *rows, extension uint32) uint64 {
	w := rows.pages.at(extension)
	at := instant(w.created)
	if owner, _ := w.owner(); q.delay != 0 && rows.pages.at(owner).created <= q.delayUpTo {
		at = min(at+uint64(q.delay), math.MaxInt64)
	}
	return at
}

func (q *queue) listOf(at uint64) int {
	if at < q.cursor {
		return dueList
	}
	level := max(bits.Len64(at^q.cursor)-1, 0) / wheelBits
	return level*wheelLists + int(at>>(level*wheelBits)%wheelLists)
}

// unlink takes an extension out of its list.
func (q *queue) unlink(rows *rows, extension uint32) {
	w := rows.pages.at(extension)
	list := int(w.size&listMask) - 1
	next, before := w.next(), w.before()
	if next != 0 {
		rows.pages.at(next).setBefore(before)
	}
	if before != 0 {
		rows.pages.at(before).setNext(next)
	} else if q.lists[list] = next; next == 0 && list != dueList {
		q.occupied[list/wheelLists] &^= 1 << (list % wheelLists)
	}
	w.revision, w.size = 0, unqueued
}

// first returns the list that begins first and the time when it begins. ok is false
// if all are empty. If two begin together it returns the list of the higher level,
// which may hold extensions that belong to the other.
func (q *queue) first() (list int, begins uint64, ok bool) {
	for level := wheelLevels - 1; level >= 0; level-- {
		if q.occupied[level] == 0 {
			continue
		}
		n := bits.TrailingZeros64(q.occupied[level])
		above := (level + 1) * wheelBits
		at := q.cursor>>above<<above | uint64(n)<<(level*wheelBits)
		if !ok || at < begins {
			list, begins, ok = level*wheelLists+n, at, true
		}
	}
	return list, begins, ok
}

// advance brings the queue to now, moving at most budget extensions, and reports
// whether it got there. The cursor goes from the beginning of one list to that of the
// next. The extensions of a list that ends by now are due. Those of the list that
// now is in move to lower levels.
func (q *queue) advance(rows *rows, a Agenda, now uint64, budget int) bool {
	for {
		list, begins, ok := q.first()
		if !ok || begins > now {
			q.cursor = max(q.cursor, now)
			return true
		}
		q.cursor = max(q.cursor, begins)
		passed := begins+(1<<(list/wheelLists*wheelBits)-1) <= now
		for ; q.lists[list] != 0; budget-- {
			if budget == 0 {
				return false
			}
			extension := q.lists[list]
			q.unlink(rows, extension)
			if passed {
				q.push(rows, a, extension, dueList)
			} else {
				q.place(rows, a, extension)
			}
		}
	}
}

// Advance brings an agenda to now, in unix nanoseconds, and reports whether it got
// there. It moves at most budget versions; the caller calls it again until it returns
// true. now must not be less than in an earlier call.
func (x *Index) Advance(a Agenda, now int64, budget int) bool {
	q := x.queues[a]
	return q == nil || q.advance(&x.rows, a, instant(now), budget)
}

// Delay makes the versions that were created up to an instant be due later by a duration
// than their deadlines, on both agendas. Unix nanoseconds, and nanoseconds from 0 on. It
// replaces an earlier delay. A version that was due may be due no longer.
func (x *Index) Delay(createdUpTo, by int64) {
	for a := range agendas {
		if x.queues[a] == nil {
			x.queues[a] = new(queue)
		}
		x.queues[a].setDelay(&x.rows, a, createdUpTo, by)
	}
}

func (q *queue) setDelay(rows *rows, a Agenda, createdUpTo, by int64) {
	all := make([]uint32, 0, q.count)
	for list := range q.lists {
		for q.lists[list] != 0 {
			all = append(all, q.lists[list])
			q.unlink(rows, q.lists[list])
		}
	}
	q.delayUpTo, q.delay = createdUpTo, by
	for _, extension := range all {
		q.place(rows, a, extension)
	}
}

// Due yields the versions whose deadline had passed at the last Advance, in no order,
// until yield returns false. They stay on the agenda until they are removed. The key
// belongs to the index and is valid until yield returns. A read.
func (x *Index) Due(a Agenda, yield func(key []byte, v Version) bool) {
	q := x.queues[a]
	if q == nil {
		return
	}
	for extension := q.lists[dueList]; extension != 0; {
		w := x.rows.pages.at(extension)
		extension = w.next()
		if row, key := w.owner(); !yield(x.keys.key(key), x.rows.version(row)) {
			return
		}
	}
}

// NewestDue returns the highest revision that was ever due on the agenda, 0 if none
// was. A read.
func (x *Index) NewestDue(a Agenda) kv.Revision {
	if q := x.queues[a]; q != nil {
		return kv.Revision(q.newestDue)
	}
	return 0
}

// nextDeadline returns an instant, in unix nanoseconds, at or before the first
// deadline on the agenda, and false if the agenda is empty. A read.
func (x *Index) nextDeadline(a Agenda) (at int64, ok bool) {
	q := x.queues[a]
	if q == nil || q.count == 0 {
		return 0, false
	}
	if q.lists[dueList] != 0 {
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
