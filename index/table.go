package index

import "unsafe"

// table finds a key's bytes and newest row by the key's hash: extendible
// hashing. The top bits of the hash choose a bin, an open-addressing table with
// linear probing that grows and splits alone, so the longest stall of an insert
// is one bin's, whatever the number of keys.
type table struct {
	dir   []bin // 1<<depth entries; a bin of lesser depth has several, adjacent
	depth uint8
	used  int
	slots int // of all bins
}

// slot is 12 bytes, and pointer-free. key 0 means empty.
type slot struct {
	tag uint32 // the hash's top half
	key uint32 // in the arena
	row uint32 // the newest version's
}

// bin is copied to each of its directory entries: a lookup then takes one step
// less, and the copies differ in nothing.
type bin struct {
	slots []slot
	fill  *fill
}

type fill struct {
	used  int
	depth uint8 // how many bits of the tag its keys share
}

const (
	slotSize     = int(unsafe.Sizeof(slot{}))
	binSize      = int(unsafe.Sizeof(bin{})) + int(unsafe.Sizeof(fill{}))
	tagBits      = 32
	smallestBin  = 8    // slots
	splitBin     = 1024 // slots; a full bin of that size splits
	loadNum      = 13   // a bin is full at 13/16
	loadDen      = 16
	keysPerEntry = 128 // the directory doubles only while it has fewer entries than keys/128
)

// binSizes is the ladder a bin climbs. The last steps are small, which keeps
// the load between 0.6 and 0.81, and 12 bytes a slot fill Go's size classes.
var binSizes = [...]int{smallestBin, 16, 32, 64, 128, 256, 512, 682, 853, splitBin}

func limit(slots int) int { return slots * loadNum / loadDen }

// roomFor returns the smallest size of bin that n keys do not fill.
func roomFor(n int) int {
	for _, size := range binSizes {
		if n < limit(size) {
			return size
		}
	}
	return n*loadDen/loadNum + n/4
}

func tagOf(hash uint64) uint32 { return uint32(hash >> 32) }

// home is where the search for tag begins among n slots. Keys of one bin share
// the top bits of the tag; the multiplication lets the others decide.
func home(tag uint32, n int) int {
	return int(uint64(tag*0x9E3779B1) * uint64(n) >> 32)
}

// binOf returns the index in dir of the tag's bin.
func (t *table) binOf(tag uint32) int { return int(tag >> (tagBits - t.depth)) }

// find returns the key's bin and its slot there, or -1.
func (t *table) find(hash uint64, key string, keys *arena) ([]slot, int) {
	tag := tagOf(hash)
	if len(t.dir) == 0 {
		return nil, -1
	}
	slots := t.dir[t.binOf(tag)].slots
	for i := home(tag, len(slots)); ; {
		s := &slots[i]
		if s.key == 0 {
			return nil, -1
		}
		if s.tag == tag && string(keys.key(s.key)) == key {
			return slots, i
		}
		if i++; i == len(slots) {
			i = 0
		}
	}
}

// insert adds a slot whose key is not in the table.
func (t *table) insert(s slot) {
	if len(t.dir) == 0 {
		t.dir = []bin{t.newBin(smallestBin, 0)}
	}
	b := t.dir[t.binOf(s.tag)]
	for b.fill.used >= limit(len(b.slots)) {
		t.relieve(b, s.tag)
		b = t.dir[t.binOf(s.tag)]
	}
	b.put(s)
	t.used++
}

func (b bin) put(s slot) {
	i := home(s.tag, len(b.slots))
	for b.slots[i].key != 0 {
		if i++; i == len(b.slots) {
			i = 0
		}
	}
	b.slots[i] = s
	b.fill.used++
}

func (t *table) newBin(size int, depth uint8) bin {
	t.slots += size
	return bin{slots: make([]slot, size), fill: &fill{depth: depth}}
}

// relieve makes room in a full bin: it grows, or splits in two.
func (t *table) relieve(b bin, tag uint32) {
	if len(b.slots) < splitBin || !t.maySplit(b) {
		t.rehash(b, tag, roomFor(b.fill.used))
		return
	}
	if b.fill.depth == t.depth {
		t.double()
	}
	t.split(b, tag)
}

// maySplit keeps the directory in proportion to the keys: keys whose tags agree
// in many bits, by design of whoever chose them, get a larger bin instead.
func (t *table) maySplit(b bin) bool {
	return b.fill.depth < t.depth || t.depth < tagBits && len(t.dir) <= t.used/keysPerEntry
}

func (t *table) rehash(b bin, tag uint32, size int) {
	grown := t.newBin(size, b.fill.depth)
	for _, s := range b.slots {
		if s.key != 0 {
			grown.put(s)
		}
	}
	t.slots -= len(b.slots)
	t.place(grown, tag)
}

func (t *table) split(b bin, tag uint32) {
	depth := b.fill.depth + 1
	bit := uint32(1) << (tagBits - depth)
	upper := 0
	for _, s := range b.slots {
		if s.key != 0 && s.tag&bit != 0 {
			upper++
		}
	}
	halves := [2]bin{
		t.newBin(roomFor(b.fill.used-upper), depth),
		t.newBin(roomFor(upper), depth),
	}
	for _, s := range b.slots {
		switch {
		case s.key == 0:
		case s.tag&bit != 0:
			halves[1].put(s)
		default:
			halves[0].put(s)
		}
	}
	t.slots -= len(b.slots)
	t.place(halves[0], tag&^bit)
	t.place(halves[1], tag|bit)
}

// place makes b the bin of all tags that share b's depth of bits with tag.
func (t *table) place(b bin, tag uint32) {
	n := 1 << (t.depth - b.fill.depth)
	first := t.binOf(tag) &^ (n - 1)
	for i := first; i < first+n; i++ {
		t.dir[i] = b
	}
}

func (t *table) double() {
	dir := make([]bin, 2*len(t.dir))
	for i, b := range t.dir {
		dir[2*i], dir[2*i+1] = b, b
	}
	t.dir = dir
	t.depth++
}

// remove empties slot i of the tag's bin and moves those behind it up, so that
// no search for them ends early.
func (t *table) remove(tag uint32, i int) {
	b := t.dir[t.binOf(tag)]
	n := len(b.slots)
	for j := i; ; {
		if j++; j == n {
			j = 0
		}
		s := b.slots[j]
		if s.key == 0 {
			break
		}
		if from := home(s.tag, n); (j-from+n)%n >= (j-i+n)%n {
			b.slots[i] = s
			i = j
		}
	}
	b.slots[i] = slot{}
	b.fill.used--
	t.used--
}

// reserve sizes an empty table for n keys.
func (t *table) reserve(n int) {
	if len(t.dir) != 0 {
		return
	}
	const perBin = 640 // at most; half of it at least
	depth := uint8(0)
	for n>>depth > perBin {
		depth++
	}
	const spread = 8 // a bin's share varies: leave an eighth
	size := roomFor(n>>depth + n>>depth/spread)
	t.depth = depth
	t.dir = make([]bin, 1<<depth)
	for i := range t.dir {
		t.dir[i] = t.newBin(size, depth)
	}
}

// each calls fn for every slot, until fn returns false. It works on copies of
// one bin at a time, so fn may remove the key that it is shown.
func (t *table) each(fn func(slot) bool) {
	var held []slot
	for i := 0; i < len(t.dir); {
		b := t.dir[i]
		held = append(held[:0], b.slots...)
		for _, s := range held {
			if s.key != 0 && !fn(s) {
				return
			}
		}
		i += 1 << (t.depth - b.fill.depth)
	}
}

func (t *table) memory() int64 {
	return int64(t.slots)*int64(slotSize) + int64(len(t.dir))*int64(binSize)
}
