package index

import (
	"fmt"
	"math/bits"
	"sync/atomic"
	"unsafe"

	"kvd/kv"
)

// arena holds the keys' entries. An entry is
//
//	0      4      6
//	┌──────┬──────┬───────────┬─────┐
//	│ top  │ len  │ key bytes │ pad │   to the next multiple of 8, at least 16
//	└──────┴──────┴───────────┴─────┘
//
// and is named by its offset in units of 8 bytes. top is the key's newest row,
// or the newest of its heads: see [head]. The writer stores it atomically, and
// the key bytes never change, so snapshots read both beside the writer.
//
// Freed entries join free neighbours. The marks of where free blocks begin and end lie
// outside the blocks, because an entry in use must not be written.
type arena struct {
	pages pages[cell]
	next  uint32                                             // first unit never used yet
	lists [largeBlock + 1]uint32                             // of free blocks
	some  [(largeBlock + bits.UintSize) / bits.UintSize]uint // which lists are not empty
	marks []marks                                            // per page; empty until something in it was freed
	held  uint32                                             // units in use
}

// cell is what a page of the arena consists of.
type cell [cellUnits]uint64

// marks says of each unit of a page whether a free block begins or ends there.
type marks struct{ begin, end []uint64 }

const (
	cellUnits = 4
	unitSize  = 8
	keyOffset = 6
	// A free block holds its list's links and twice its size.
	minBlock   = 2                                                     // units
	maxEntry   = (keyOffset + kv.MaxKeySize + unitSize - 1) / unitSize // units
	largeBlock = maxEntry + 1                                          // the list of all blocks larger than an entry

	entryLenMask = 1<<11 - 1
	entryPending = 1 << 15 // loaded, not yet in the tree

	arenaLimit = 1<<32 - fullPage*cellUnits // where refs end
)

func entrySize(keySize int) uint32 {
	return max(minBlock, uint32(keyOffset+keySize+unitSize-1)/unitSize)
}

// unit returns the address of a unit. It reads nothing there, not even for a check against nil, which
// would make a prefetch wait.
func (a *arena) unit(ref uint32) unsafe.Pointer {
	return unsafe.Add(unsafe.Pointer(a.pages.at(ref/cellUnits)), ref%cellUnits*unitSize)
}

// top returns the word that leads to the key's versions.
func (a *arena) top(ref uint32) *atomic.Uint32 { return (*atomic.Uint32)(a.unit(ref)) }

func (a *arena) length(ref uint32) *uint16 { return (*uint16)(unsafe.Add(a.unit(ref), 4)) }

// key returns the key's bytes, which the arena owns.
func (a *arena) key(ref uint32) []byte {
	entry := a.unit(ref)
	n := *(*uint16)(unsafe.Add(entry, 4)) & entryLenMask
	return unsafe.Slice((*byte)(unsafe.Add(entry, keyOffset)), n)
}

// text returns the key as a string, for code that only compares. It shares the
// arena's bytes.
func (a *arena) text(ref uint32) string {
	b := a.key(ref)
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// put makes an entry for key.
func (a *arena) put(key string, top uint32) uint32 {
	if len(key) == 0 || len(key) > kv.MaxKeySize {
		panic(fmt.Sprintf("index: key of %d bytes, 1 to %d are possible", len(key), kv.MaxKeySize))
	}
	ref := a.alloc(entrySize(len(key)))
	*a.length(ref) = uint16(len(key))
	copy(a.key(ref), key)
	a.top(ref).Store(top)
	return ref
}

// remove gives an entry's bytes back.
func (a *arena) remove(ref uint32) {
	a.free(ref, entrySize(len(a.key(ref))))
}

// free gives units back.
func (a *arena) free(ref, size uint32) {
	a.held -= size
	a.release(ref, size)
}

// alloc finds room for an entry: a free block of that size, part of a larger
// one, or units never used yet.
func (a *arena) alloc(size uint32) uint32 {
	a.held += size
	if ref := a.lists[size]; ref != 0 {
		a.unlink(ref, size)
		return ref
	}
	if ref, got := a.larger(size + minBlock); ref != 0 {
		a.unlink(ref, got)
		a.link(ref+size, got-size)
		return ref
	}
	return a.extend(size)
}

// larger returns a free block of at least size units, 0 if there is none.
func (a *arena) larger(size uint32) (ref, got uint32) {
	for list := min(size, largeBlock); list <= largeBlock; {
		rest := a.some[list/bits.UintSize] >> (list % bits.UintSize)
		if rest == 0 {
			list = (list/bits.UintSize + 1) * bits.UintSize
			continue
		}
		list += uint32(bits.TrailingZeros(rest))
		ref = a.lists[list]
		// Blocks of the large list hold any entry and a remainder, but for the
		// largest entry, whose remainder would need one unit more.
		if got = a.blockSize(ref); got >= size {
			return ref, got
		}
		list++
	}
	return 0, 0
}

func (a *arena) extend(size uint32) uint32 {
	if a.next == 0 {
		a.next = minBlock // ref 0 is none
		a.pages.grow()
	}
	if end := a.pages.size() * cellUnits; a.next+size > end {
		if rest := end - a.next; rest >= minBlock {
			a.link(a.next, rest)
		}
		if end >= arenaLimit {
			panic("index: more than 32 GiB of keys")
		}
		a.pages.grow()
		a.next = end
	}
	ref := a.next
	a.next += size
	return ref
}

// release makes the units free and joins them with free neighbours.
func (a *arena) release(ref, size uint32) {
	m, at, end := a.marksOf(ref)
	lastPage := ref-at+end == a.pages.size()*cellUnits
	if next := at + size; next < end && m.begin[next/64]&(1<<(next%64)) != 0 {
		right := ref + size
		rightSize := a.blockSize(right)
		a.unlink(right, rightSize)
		size += rightSize
	}
	if at > 0 && m.end[(at-1)/64]&(1<<((at-1)%64)) != 0 {
		leftSize := uint32(*a.word(ref - 1))
		ref -= leftSize
		a.unlink(ref, leftSize)
		size += leftSize
	}
	if lastPage && ref+size == a.next {
		a.next = ref
		return
	}
	a.link(ref, size)
}

func (a *arena) word(ref uint32) *uint64 { return (*uint64)(a.unit(ref)) }

// A free block's first word is its neighbours in the list, the next below and
// the previous above; its second and its last are its size.

func (a *arena) blockSize(ref uint32) uint32 { return uint32(*a.word(ref + 1)) }

func (a *arena) link(ref, size uint32) {
	list := min(size, largeBlock)
	next := a.lists[list]
	*a.word(ref) = uint64(next)
	*a.word(ref + 1) = uint64(size)
	*a.word(ref + size - 1) = uint64(size)
	if next != 0 {
		w := a.word(next)
		*w = *w&(1<<32-1) | uint64(ref)<<32
	}
	a.lists[list] = ref
	a.some[list/bits.UintSize] |= 1 << (list % bits.UintSize)
	m, at, _ := a.marksOf(ref)
	m.begin[at/64] |= 1 << (at % 64)
	m.end[(at+size-1)/64] |= 1 << ((at + size - 1) % 64)
}

func (a *arena) unlink(ref, size uint32) {
	list := min(size, largeBlock)
	w := *a.word(ref)
	next, previous := uint32(w), uint32(w>>32)
	if previous == 0 {
		a.lists[list] = next
	} else {
		w := a.word(previous)
		*w = *w&^(1<<32-1) | uint64(next)
	}
	if next != 0 {
		w := a.word(next)
		*w = *w&(1<<32-1) | uint64(previous)<<32
	}
	if a.lists[list] == 0 {
		a.some[list/bits.UintSize] &^= 1 << (list % bits.UintSize)
	}
	m, at, _ := a.marksOf(ref)
	m.begin[at/64] &^= 1 << (at % 64)
	m.end[(at+size-1)/64] &^= 1 << ((at + size - 1) % 64)
}

// marksOf returns the marks of ref's page, where ref stands in them, and how
// many units the page has.
func (a *arena) marksOf(ref uint32) (m *marks, at, end uint32) {
	page := pageOf(ref / cellUnits)
	at = ref - pageStart(page)*cellUnits
	end = uint32(pageSize(page)) * cellUnits
	for page >= len(a.marks) {
		a.marks = append(a.marks, marks{})
	}
	m = &a.marks[page]
	if m.begin == nil {
		m.begin = make([]uint64, (end+63)/64)
		m.end = make([]uint64, (end+63)/64)
	}
	return m, at, end
}

func (a *arena) memory() int64 {
	n := a.pages.memory()
	for _, m := range a.marks {
		n += int64(len(m.begin)+len(m.end)) * unitSize
	}
	return n
}
