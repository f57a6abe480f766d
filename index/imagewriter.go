package index

import (
	"encoding/binary"
	"io"
)

// imageWriter writes the parts of an image. After an error it writes nothing more.
type imageWriter struct {
	w   io.Writer
	err error
}

func (i *imageWriter) bytes(b []byte) {
	if i.err == nil && len(b) > 0 {
		_, i.err = i.w.Write(b)
	}
}

func (i *imageWriter) number(n uint64) {
	i.bytes(binary.NativeEndian.AppendUint64(make([]byte, 0, 8), n))
}

// present writes whether an optional part follows, and returns it.
func (i *imageWriter) present(is bool) bool {
	n := uint64(0)
	if is {
		n = 1
	}
	i.number(n)
	return is
}

func writePages[T any](i *imageWriter, p *pages[T]) {
	i.number(uint64(p.count))
	for n := range p.count {
		i.bytes(bytesOf(p.page(n)))
	}
}

func (i *imageWriter) arena(a *arena) {
	i.number(uint64(a.next))
	i.number(uint64(a.held))
	i.bytes(memoryOf(&a.lists))
	i.bytes(memoryOf(&a.some))
	writePages(i, &a.pages)
	i.number(uint64(len(a.marks)))
	for n := range a.marks {
		m := &a.marks[n]
		if i.present(m.begin != nil) {
			i.bytes(bytesOf(m.begin))
			i.bytes(bytesOf(m.end))
		}
	}
}

func (i *imageWriter) rows(r *rows) {
	i.number(uint64(r.next))
	i.number(uint64(r.free))
	i.number(uint64(r.held))
	writePages(i, &r.pages)
}

func (i *imageWriter) table(t *table) {
	i.number(uint64(t.count))
	i.number(uint64(t.used))
	for n := range t.count {
		b := t.bins.at(n)
		i.number(uint64(len(b.slots)))
		i.number(uint64(b.used))
		i.bytes(bytesOf(b.slots))
	}
}

func (i *imageWriter) tree(t *tree) {
	i.number(uint64(t.count))
	if t.leaves == nil {
		i.number(0)
		return
	}
	i.number(uint64(t.leaves.Len()))
	t.leaves.Ascend(func(at item) bool {
		l := at.leaf()
		i.number(uint64(l.low)<<32 | uint64(l.high))
		i.number(uint64(l.skip)<<32 | uint64(l.count))
		i.bytes(bytesOf(l.prefixes[:l.count]))
		i.bytes(bytesOf(l.refs[:l.count]))
		return i.err == nil
	})
}

func (i *imageWriter) rings(r rings) {
	i.number(uint64(len(r)))
	for key, ref := range r {
		i.number(uint64(key))
		i.number(uint64(ref.at)<<32 | uint64(ref.size))
	}
}

func (i *imageWriter) queues(queues *[agendas]*queue) {
	for _, q := range queues {
		if i.present(q != nil) {
			i.bytes(memoryOf(q))
		}
	}
}

func (i *imageWriter) uses(u uses) {
	i.number(uint64(len(u)))
	for _, page := range u {
		if i.present(page != nil) {
			i.bytes(memoryOf(page))
		}
	}
}
