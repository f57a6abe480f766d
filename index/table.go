package index

import (
	"math/bits"
	"unsafe"
)

// table finds a key's entry and newest row by the key's hash. It is a linear hash
// table: as keys are added its bins split one after the other, in the order of their
// numbers. So no insert moves more than one bin, whatever the number of keys. A bin is
// a small open-addressing table with linear probing. Bins that are still to split in
// this round are larger.
type table struct {
	bins    pages[bin]
	runs    runs
	scratch []slot // of one bin
	count   uint32 // of bins
	used    int
	slots   int // of all bins
}

// slot is 16 bytes, so that none straddles two cache lines, and pointer-free. key 0 means
// empty.
type slot struct {
	tag uint32 // the hash's top half
	key uint32 // in the arena
	row uint32 // the newest version's
	at  hint   // where that version's record is
}

type bin struct {
	slots []slot
	used  int32
	run   runID // of slots; 0: they are in Go's heap
}

const (
	slotSize = int(unsafe.Sizeof(slot{}))
	keysABin = 240 // on average; a bin holds half to twice that
	loadNum  = 13  // a bin grows at 13/16
	loadDen  = 16
)

func limit(slots int) int { return slots * loadNum / loadDen }

// roomFor returns a size of bin that n keys do not fill: a power of two, or a number of
// whole units. With an average of 240 to 480 keys in a bin the load is between 0.67 and
// 0.81. Only keys chosen for their hashes make a bin larger than a run.
func roomFor(n int) int {
	for size := 8; size < unitSlots; size *= 2 {
		if n < limit(size) {
			return size
		}
	}
	least := (n + 1) * loadDen / loadNum
	if least >= runMax*unitSlots {
		return least + n/4
	}
	return (least/unitSlots + 1) * unitSlots
}

func tagOf(hash uint64) uint32 { return uint32(hash >> 32) }

// home is where the search for tag begins among n slots. Keys of one bin share
// the low bits of the tag; the multiplication lets the others decide.
func home(tag uint32, n int) int {
	return int(uint64(tag*0x9E3779B1) * uint64(n) >> 32)
}

// binOf returns the tag's bin: the low bits of tag name it, one bit more if that
// bin has been split in this round.
func (t *table) binOf(tag uint32) *bin {
	round := roundOf(t.count)
	i := tag & (2*round - 1)
	if i >= t.count {
		i -= round
	}
	return t.bins.at(i)
}

// roundOf returns the largest power of two that is not above count: how many
// bins there were when the round of splits began.
func roundOf(count uint32) uint32 { return 1 << (bits.Len32(count) - 1) }

// find returns the key's slot, nil if it has none.
func (t *table) find(hash uint64, key string, keys *arena) *slot {
	if t.count == 0 {
		return nil
	}
	tag := tagOf(hash)
	slots := t.binOf(tag).slots
	for i := home(tag, len(slots)); ; {
		s := &slots[i]
		if s.key == 0 {
			return nil
		}
		if s.tag == tag && keys.text(s.key) == key {
			return s
		}
		if i++; i == len(slots) {
			i = 0
		}
	}
}

// insert adds a slot whose key is not in the table.
func (t *table) insert(s slot) {
	if t.used == keysABin*int(t.count) {
		t.split()
	}
	b := t.binOf(s.tag)
	if int(b.used) == limit(len(b.slots)) {
		old := t.take(b)
		*b = t.newBin(int(old.used))
		old.each(b.put)
	}
	b.put(s)
	t.used++
}

// split divides the bin whose turn it is. The first is made of nothing.
func (t *table) split() {
	if t.count == t.bins.size() {
		t.bins.grow()
	}
	if t.count == 0 {
		*t.bins.at(0) = t.newBin(0)
		t.count = 1
		return
	}
	round := roundOf(t.count)
	lower, upper := t.bins.at(t.count-round), t.bins.at(t.count)
	t.count++
	old, moving := t.take(lower), 0
	old.each(func(s slot) { moving += int(s.tag & round / round) })
	*lower, *upper = t.newBin(int(old.used)-moving), t.newBin(moving)
	old.each(func(s slot) {
		if s.tag&round == 0 {
			lower.put(s)
		} else {
			upper.put(s)
		}
	})
}

// newBin returns an empty bin with room for n keys and more.
func (t *table) newBin(n int) bin { return t.binOfSize(roomFor(n)) }

// binOfSize returns an empty bin of that many slots.
func (t *table) binOfSize(size int) bin {
	t.slots += size
	if units := size / unitSlots; units > 0 && units <= runMax && size%unitSlots == 0 && t.runs.supply.isLarge() {
		slots, id := t.runs.alloc(units)
		return bin{slots: slots, run: id}
	}
	return bin{slots: make([]slot, size)}
}

// take empties a bin and returns what it was, with the slots in the table's scratch: the new bin
// may have the old one's place.
func (t *table) take(b *bin) bin {
	t.slots -= len(b.slots)
	t.scratch = append(t.scratch[:0], b.slots...)
	if b.run != 0 {
		t.runs.release(b.run, len(b.slots)/unitSlots)
	}
	return bin{slots: t.scratch, used: b.used}
}

func (b *bin) put(s slot) {
	i := home(s.tag, len(b.slots))
	for b.slots[i].key != 0 {
		if i++; i == len(b.slots) {
			i = 0
		}
	}
	b.slots[i] = s
	b.used++
}

func (b *bin) each(fn func(slot)) {
	for _, s := range b.slots {
		if s.key != 0 {
			fn(s)
		}
	}
}

// remove takes out the slot of an entry and moves those behind it up, so that
// no search for them ends early.
func (t *table) remove(tag, key uint32) {
	b := t.binOf(tag)
	n := len(b.slots)
	i := home(tag, n)
	for b.slots[i].key != key {
		i = (i + 1) % n
	}
	for j := (i + 1) % n; b.slots[j].key != 0; j = (j + 1) % n {
		if from := home(b.slots[j].tag, n); (j-from+n)%n >= (j-i+n)%n {
			b.slots[i] = b.slots[j]
			i = j
		}
	}
	b.slots[i] = slot{}
	b.used--
	t.used--
}

// reserve sizes an empty table for n keys.
func (t *table) reserve(n int) {
	if t.count != 0 {
		return
	}
	t.runs.supply.expect(n)
	count := uint32(n/keysABin + 1)
	for t.bins.size() < count {
		t.bins.grow()
	}
	round := roundOf(count)
	for i := range count {
		share := uint64(2 * round) // the bin's keys are one in so many
		if i+round >= count && i < round {
			share = uint64(round)
		}
		*t.bins.at(i) = t.newBin(int(uint64(n) / share))
	}
	t.count = count
}

// each calls fn for every slot until fn returns false. fn may remove the key of the
// slot.
func (t *table) each(fn func(slot) bool) {
	var held []slot
	for i, more := uint32(0), true; more && i < t.count; i++ {
		held, more = t.part(i, held, fn)
	}
}

// part is each for one bin, and reports whether fn wants more. Bins are in the order in
// which they are made: when a bin splits, each slot stays in it or moves to a later
// bin. part works on a copy of the bin, in held.
func (t *table) part(i uint32, held []slot, fn func(slot) bool) (copied []slot, more bool) {
	held = append(held[:0], t.bins.at(i).slots...)
	for _, s := range held {
		if s.key != 0 && !fn(s) {
			return held, false
		}
	}
	return held, true
}

func (t *table) memory() int64 {
	return int64(t.slots)*int64(slotSize) + t.runs.unused() + t.bins.memory()
}
