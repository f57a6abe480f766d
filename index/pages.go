package index

import (
	"math/bits"
	"sync/atomic"
	"unsafe"
)

// The first page of a vector is small, so that ten thousand small buckets stay
// cheap; each next one doubles the vector until a page is full size. A full
// page of rows is 64 KiB: small enough that clearing one does not stall a put.
const (
	firstPageBits = 6
	fullPageBits  = 11
	growingPages  = fullPageBits - firstPageBits // pages after the first before all are full size
	fullPage      = 1 << fullPageBits
)

// pages is a vector of T that grows without moving what it holds. The writer
// calls grow; at may run beside it, for ids that were there when the caller
// learned of them. T holds no pointers, so the collector never looks inside.
type pages[T any] struct {
	dir atomic.Pointer[[][]T]
}

// at returns the element id, which must be below size.
func (p *pages[T]) at(id uint32) *T {
	if id >= fullPage {
		return &(*p.dir.Load())[id>>fullPageBits+growingPages][id&(fullPage-1)]
	}
	return p.atGrowing(id)
}

func (p *pages[T]) atGrowing(id uint32) *T {
	page := pageOf(id)
	return &(*p.dir.Load())[page][id-pageStart(page)]
}

// grow adds a page. Directories share their backing array: a reader's header
// ends before the element that is written here.
func (p *pages[T]) grow() {
	var dir [][]T
	if old := p.dir.Load(); old != nil {
		dir = *old
	}
	dir = append(dir, make([]T, pageSize(len(dir))))
	p.dir.Store(&dir)
}

// size returns how many elements the pages hold.
func (p *pages[T]) size() uint32 {
	dir := p.dir.Load()
	if dir == nil {
		return 0
	}
	return pageStart(len(*dir))
}

// memory returns the bytes held.
func (p *pages[T]) memory() int64 {
	var element T
	n := int64(p.size()) * int64(unsafe.Sizeof(element))
	if dir := p.dir.Load(); dir != nil {
		n += int64(cap(*dir)) * int64(unsafe.Sizeof([]T{}))
	}
	return n
}

func pageOf(id uint32) int {
	if id >= fullPage {
		return int(id>>fullPageBits) + growingPages
	}
	return bits.Len32(id >> firstPageBits)
}

// pageStart returns the id of a page's first element.
func pageStart(page int) uint32 {
	switch {
	case page == 0:
		return 0
	case page <= growingPages:
		return 1 << (firstPageBits + page - 1)
	}
	return uint32(page-growingPages) << fullPageBits
}

func pageSize(page int) int {
	switch {
	case page == 0:
		return 1 << firstPageBits
	case page <= growingPages:
		return 1 << (firstPageBits + page - 1)
	}
	return fullPage
}
