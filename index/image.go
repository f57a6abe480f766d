package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unsafe"
)

// An image is the memory of an index as a stream of bytes: its pages as they are, and before
// each kind the numbers that belong to it. [Read] needs neither look up nor compare a key, so an
// index is read as fast as a disk delivers it.
//
//	version and layout
//	counts    live, versions, bytes, epoch, both halves of the digest
//	arena     its numbers, lists of free blocks and marks · pages
//	rows      next, free, held · pages
//	table     count, used · for each bin: slots, used · the slots
//	tree      keys, leaves · for each leaf, ascending: its bounds, skip and count · its prefixes,
//	          its references
//	rings     number · entry, place and size of each
//	agendas   for each: whether there is one · the queue
//	uses      number of pages · for each: whether there is one · the page
//
// Numbers have 64 bits, and pages the byte order of the machine. A stream of another version,
// or of a machine with another layout, is not read. The stream has no checksum: the caller adds
// them, and gives to Read only what they confirm.

// imageVersion changes with the meaning of the memory: with the hash, with [home], [binOf] or
// the order of a structure's fields.
const imageVersion = 3

// ErrImage is matched by the errors of [Read] for a stream that is no image of this version and
// layout, or breaks off.
var ErrImage = errors.New("not a readable image of an index")

// layout returns the version and what a machine or a compiler may decide otherwise.
func layout() [5]uint64 {
	order := binary.NativeEndian.Uint64([]byte{imageVersion, 2, 3, 4, 5, 6, 7, 8})
	return [...]uint64{
		order, uint64(slotSize), rowSize, leafKeys,
		firstPageBits<<32 | fullPageBits<<16 | uint64(unsafe.Sizeof(queue{})),
	}
}

// PrepareImage readies the index for [Index.Write], and reports whether it can be written: all
// loaded keys are in the tree, and no snapshot is open. It forgets how far the agendas have
// advanced, so what was due is due again at the next Advance.
func (x *Index) PrepareImage() bool {
	for len(x.open) == 0 && !x.queue.empty() {
		x.drain()
	}
	if len(x.open) > 0 || x.heads.held > 0 || !x.ready() {
		return false
	}
	for a := range x.queues {
		if q := x.queues[a]; q != nil {
			q.rewind(&x.rows, Agenda(a))
		}
	}
	return true
}

// Write writes an image. Nothing may have changed the index since PrepareImage returned true. A
// read.
func (x *Index) Write(w io.Writer) error {
	i := imageWriter{w: w}
	for _, n := range layout() {
		i.number(n)
	}
	i.number(uint64(x.live))
	i.number(uint64(x.versions))
	i.number(uint64(x.bytes))
	i.number(x.epoch)
	i.number(x.digest.High)
	i.number(x.digest.Low)
	i.arena(&x.keys)
	i.rows(&x.rows)
	i.table(&x.table)
	i.tree(&x.tree)
	i.rings(x.rings)
	i.queues(&x.queues)
	i.uses(x.uses)
	return i.err
}

// Read reads an image of at most size bytes. The error matches ErrImage or is that of r; no
// index is returned then. It takes no more memory than size, a few pages, and two chunks of a large
// index.
func Read(r io.Reader, size int64) (*Index, error) {
	i := imageReader{r: r, left: size}
	for _, want := range layout() {
		if got := i.number(); i.err == nil && got != want {
			i.fail("version or layout is %#x, not %#x", got, want)
		}
	}
	x := New()
	x.supply.large = size > smallIndex
	x.live, x.versions, x.bytes, x.epoch = int(i.number()), int(i.number()), int64(i.number()), i.number()
	x.digest.High, x.digest.Low = i.number(), i.number()
	i.arena(&x.keys)
	i.rows(&x.rows)
	i.table(&x.table)
	i.tree(&x.tree)
	i.rings(&x.rings)
	i.queues(&x.queues)
	i.uses(&x.uses)
	if i.err != nil {
		return nil, i.err
	}
	return x, nil
}

// bytesOf returns the memory of elements without pointers.
func bytesOf[T any](s []T) []byte {
	var element T
	if len(s) == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(s))), uintptr(len(s))*unsafe.Sizeof(element))
}

// memoryOf returns the memory of one element without pointers.
func memoryOf[T any](p *T) []byte { return bytesOf(unsafe.Slice(p, 1)) }

// page returns the elements of one page. Only the writer calls it.
func (p *pages[T]) page(n int) []T {
	if n < smallPages {
		return p.small[n]
	}
	return (*p.full.Load())[n-smallPages][:]
}

// rewind brings the queue back to the beginning of time, without a delay.
func (q *queue) rewind(rows *rows, a Agenda) {
	q.cursor, q.newestDue = 0, 0
	q.setDelay(rows, a, 0, 0)
}

// fail notes the first error of a stream.
func (i *imageReader) fail(format string, args ...any) {
	if i.err == nil {
		i.err = fmt.Errorf("%w: %s", ErrImage, fmt.Sprintf(format, args...))
	}
}
