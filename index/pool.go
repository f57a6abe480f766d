package index

import "unsafe"

// pool hands out ids of elements and takes them back. Id 0 is none. T has no
// pointers and at least four bytes: those of a free element are the id of the next
// free one.
type pool[T any] struct {
	pages pages[T]
	next  uint32 // never used yet
	free  uint32 // the first of the free elements
	held  int    // elements in use
}

// poolLimit is above every id.
const poolLimit = 1 << 31

// alloc returns the id of an element, whose contents are not defined.
func (p *pool[T]) alloc() uint32 {
	p.held++
	if id := p.free; id != 0 {
		p.free = *p.link(id)
		return id
	}
	if p.next == 0 {
		p.next = 1
	}
	id := p.next
	if id >= poolLimit {
		panic("index: more than 2^31 rows or heads")
	}
	if id >= p.pages.size() {
		p.pages.grow()
	}
	p.next++
	return id
}

// release takes an element back and clears it.
func (p *pool[T]) release(id uint32) {
	var zero T
	*p.pages.at(id) = zero
	*p.link(id) = p.free
	p.free = id
	p.held--
}

func (p *pool[T]) link(id uint32) *uint32 { return (*uint32)(unsafe.Pointer(p.pages.at(id))) }
