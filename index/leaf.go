package index

import (
	"encoding/binary"
	"strings"
	"unsafe"
)

// bounds are the two separators around a leaf: low <= key < high. Both are entries
// of the arena. A leaf and a [probe] begin with their bounds, so an [item] of the
// tree can name either.
type bounds struct {
	low  uint32 // 0: there is no leaf before
	high uint32 // 0: there is no leaf behind; ofProbe: this is a probe
}

// leaf holds up to 126 keys of a [tree], ascending. All lie between its bounds,
// and so begin with the skip bytes that the two separators share. prefixes holds
// the eight bytes after those as numbers. A search reads a key itself only where
// two keys agree in skip+8 bytes.
//
// Prefixes and references lie in arrays of their own because a search reads only
// the former. A leaf has no pointers: the collector never looks inside.
type leaf struct {
	bounds
	epoch    uint64 // in which it was made
	count    uint16
	skip     uint16
	prefixes [leafKeys]uint64
	refs     [leafKeys]uint32
}

// A leaf of 126 keys fills Go's size class of 1,536 bytes.
const (
	leafKeys   = 126
	leafMin    = leafKeys / 4     // a leaf with fewer keys tries to join a neighbour
	leafJoined = leafKeys * 3 / 4 // and does if the result has at most so many
	leafMemory = 1536
	prefixSize = 8
)

var _ = [1]struct{}{}[unsafe.Sizeof(leaf{})-leafMemory]

// prefixOf returns the eight bytes of key from skip on as a number. Missing bytes
// count as zero.
func prefixOf(key string, skip int) uint64 {
	if len(key) >= skip+prefixSize {
		return binary.BigEndian.Uint64(unsafe.Slice(unsafe.StringData(key), len(key))[skip:])
	}
	var b [prefixSize]byte
	if len(key) > skip {
		copy(b[:], key[skip:])
	}
	return binary.BigEndian.Uint64(b[:])
}

// shared returns how many bytes two keys have in common at their beginning.
func shared(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

func (l *leaf) full() bool { return l.count == leafKeys }

func (l *leaf) prefix(key string) uint64 { return prefixOf(key, int(l.skip)) }

// search returns the position of the first key that is not below key, and whether
// it equals key. key must lie between the leaf's bounds.
func (l *leaf) search(keys *arena, key string) (at int, found bool) {
	p := l.prefix(key)
	at = l.below(p)
	end := at
	for end < int(l.count) && l.prefixes[end] == p {
		end++
	}
	for at < end {
		middle := (at + end) / 2
		switch c := strings.Compare(keys.text(l.refs[middle]), key); {
		case c == 0:
			return middle, true
		case c < 0:
			at = middle + 1
		default:
			end = middle
		}
	}
	return at, false
}

// below returns how many keys have a prefix below p. It looks at one prefix a
// cache line first: those loads do not wait for each other, while a binary search
// waits for memory in every step.
func (l *leaf) below(p uint64) int {
	const line = 8
	prefixes := l.prefixes[:l.count]
	at := 0
	for at+line <= len(prefixes) && prefixes[at+line-1] < p {
		at += line
	}
	for at < len(prefixes) && prefixes[at] < p {
		at++
	}
	return at
}

func (l *leaf) insert(at int, prefix uint64, ref uint32) {
	copy(l.prefixes[at+1:l.count+1], l.prefixes[at:l.count])
	copy(l.refs[at+1:l.count+1], l.refs[at:l.count])
	l.prefixes[at], l.refs[at] = prefix, ref
	l.count++
}

func (l *leaf) remove(at int) {
	copy(l.prefixes[at:l.count-1], l.prefixes[at+1:l.count])
	copy(l.refs[at:l.count-1], l.refs[at+1:l.count])
	l.count--
}

// moveTo moves the first n keys into an empty leaf that skips as many bytes.
func (l *leaf) moveTo(to *leaf, n int) {
	to.count = uint16(copy(to.refs[:n], l.refs[:n]))
	copy(to.prefixes[:n], l.prefixes[:n])
	copy(l.refs[:], l.refs[n:l.count])
	copy(l.prefixes[:], l.prefixes[n:l.count])
	l.count -= uint16(n)
}

// prepend puts the keys of the leaf before in front.
func (l *leaf) prepend(keys *arena, before *leaf) {
	n := int(before.count)
	copy(l.refs[n:], l.refs[:l.count])
	copy(l.prefixes[n:], l.prefixes[:l.count])
	l.count += before.count
	for i, ref := range before.refs[:n] {
		l.refs[i] = ref
		l.prefixes[i] = l.prefix(keys.text(ref))
	}
}

// rekey skips the bytes that the bounds share, after one of them has changed.
func (l *leaf) rekey(keys *arena) {
	skip := uint16(0)
	if l.low != 0 && l.high != 0 {
		skip = uint16(shared(keys.text(l.low), keys.text(l.high)))
	}
	if l.skip == skip {
		return
	}
	l.skip = skip
	for i, ref := range l.refs[:l.count] {
		l.prefixes[i] = l.prefix(keys.text(ref))
	}
}

// from returns the keys from from on. from lies between the bounds, or is empty.
func (l *leaf) from(keys *arena, from string) []uint32 {
	at := 0
	if from != "" {
		at, _ = l.search(keys, from)
	}
	return l.refs[at:l.count]
}
