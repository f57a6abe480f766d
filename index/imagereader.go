package index

import (
	"encoding/binary"
	"errors"
	"io"
)

// imageReader reads the parts of an image. After an error it reads nothing more. It makes
// room only for bytes that can still come.
type imageReader struct {
	r    io.Reader
	left int64 // bytes that may follow
	err  error
}

// bytes fills b.
func (i *imageReader) bytes(b []byte) {
	if i.err != nil || len(b) == 0 {
		return
	}
	if i.left -= int64(len(b)); i.left < 0 {
		i.fail("it is longer than it should be")
		return
	}
	if _, err := io.ReadFull(i.r, b); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		i.fail("it breaks off")
	} else if err != nil {
		i.err = err
	}
}

func (i *imageReader) number() uint64 {
	var b [8]byte
	i.bytes(b[:])
	return binary.NativeEndian.Uint64(b[:])
}

// count reads a number of things that take at least size bytes each in the rest of the stream.
func (i *imageReader) count(size int) int {
	n := i.number()
	if i.err == nil && n > uint64(i.left)/uint64(size) {
		i.fail("it should go on with %d times %d bytes", n, size)
	}
	if i.err != nil {
		return 0
	}
	return int(n)
}

// present reads whether an optional part follows.
func (i *imageReader) present() bool { return i.number() == 1 && i.err == nil }

func readPages[T any](i *imageReader, p *pages[T]) {
	for range i.count(1) {
		if i.err != nil {
			return
		}
		p.grow()
		i.bytes(bytesOf(p.page(p.count - 1)))
	}
}

func (i *imageReader) arena(a *arena) {
	a.next, a.held = uint32(i.number()), uint32(i.number())
	i.bytes(memoryOf(&a.lists))
	i.bytes(memoryOf(&a.some))
	readPages(i, &a.pages)
	if i.err == nil && a.next > a.pages.size()*cellUnits {
		i.fail("the arena has no unit %d", a.next)
	}
	a.marks = make([]marks, i.count(8))
	for n := range a.marks {
		if !i.present() {
			continue
		}
		words := (pageSize(n)*cellUnits + 63) / 64
		a.marks[n] = marks{begin: make([]uint64, words), end: make([]uint64, words)}
		i.bytes(bytesOf(a.marks[n].begin))
		i.bytes(bytesOf(a.marks[n].end))
	}
}

func (i *imageReader) rows(r *rows) {
	r.next, r.free, r.held = uint32(i.number()), uint32(i.number()), int(i.number())
	readPages(i, &r.pages)
	if i.err == nil && r.next > r.pages.size() {
		i.fail("there is no row %d", r.next)
	}
}

func (i *imageReader) table(t *table) {
	t.count, t.used = uint32(i.count(2*8)), int(i.number())
	used := 0
	for n := range t.count {
		if n == t.bins.size() {
			t.bins.grow()
		}
		b := t.bins.at(n)
		size := i.count(slotSize)
		*b = t.binOfSize(size)
		b.used = int32(min(i.number(), uint64(size)))
		i.bytes(bytesOf(b.slots))
		if i.err != nil {
			return
		}
		used += int(b.used)
		if int(b.used) >= size {
			i.fail("bin %d has %d keys in %d slots", n, b.used, size)
		}
	}
	if used != t.used {
		i.fail("%d keys in the bins, %d in the table", used, t.used)
	}
}

// tree reads the leaves. A leaf is put into the tree behind all others.
func (i *imageReader) tree(t *tree) {
	t.count = int(i.number())
	leaves, keys := i.count(2*8), 0
	if leaves > 0 {
		t.init()
		t.leaves.Clear(false)
	}
	for n := range leaves {
		l := i.leaf(t.x)
		if i.err != nil {
			return
		}
		last := n == leaves-1
		if last != (l.high == 0) || l.high >= t.x.keys.next {
			i.fail("leaf %d of %d ends at %d", n, leaves, l.high)
			return
		}
		keys += int(l.count)
		if last {
			t.leaves.ReplaceOrInsert(lastItem(l))
		} else {
			t.leaves.ReplaceOrInsert(itemOf(&l.bounds, t.x.keys.text(l.high)))
		}
	}
	if keys != t.count || keys != t.x.table.used {
		i.fail("%d keys in the leaves, %d in the tree, %d in the table", keys, t.count, t.x.table.used)
	}
}

// leaf reads one leaf. Nobody has a snapshot of it.
func (i *imageReader) leaf(x *Index) *leaf {
	bounds, size := i.number(), i.number()
	l := &leaf{epoch: x.epoch, count: uint16(size), skip: uint16(size >> 32)}
	l.low, l.high = uint32(bounds>>32), uint32(bounds)
	if l.count > leafKeys {
		i.fail("a leaf has %d keys", l.count)
		return l
	}
	i.bytes(bytesOf(l.prefixes[:l.count]))
	i.bytes(bytesOf(l.refs[:l.count]))
	return l
}

func (i *imageReader) rings(r *rings) {
	n := i.count(2 * 8)
	if n > 0 {
		*r = make(rings, n)
	}
	for range n {
		key, ref := i.number(), i.number()
		(*r)[uint32(key)] = ringRef{at: uint32(ref >> 32), size: uint32(ref)}
	}
}

func (i *imageReader) queues(queues *[agendas]*queue) {
	for a := range queues {
		if i.present() {
			queues[a] = new(queue)
			i.bytes(memoryOf(queues[a]))
		}
	}
}

func (i *imageReader) uses(u *uses) {
	*u = make(uses, i.count(8))
	for n := range *u {
		if i.present() {
			(*u)[n] = new([usePage]Use)
			i.bytes(memoryOf((*u)[n]))
		}
	}
}
