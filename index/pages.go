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
	fullPage      = 1 << fullPageBits
	smallPages    = fullPageBits - firstPageBits + 1 // pages that hold the first fullPage elements
)

// pages is a vector of T that grows without moving its elements. Only the writer calls
// grow. Readers may call at beside it, for ids that were there when they learned of
// them.
type pages[T any] struct {
	supply *supply // of T without pointers and [fullPage]T of pageBytes; nil: Go's heap
	small  [smallPages][]T
	full   atomic.Pointer[[]*[fullPage]T]
	count  int // of all pages; only the writer uses it
}

// at returns the element id, which must be below size.
func (p *pages[T]) at(id uint32) *T {
	if id >= fullPage {
		return &(*p.full.Load())[id>>fullPageBits-1][id%fullPage]
	}
	page := pageOf(id)
	return &p.small[page][id-pageStart(page)]
}

// grow adds a page. Directories share their backing array: a reader's header
// ends before the element that is written here.
func (p *pages[T]) grow() {
	page := p.count
	p.count++
	if page < smallPages {
		p.small[page] = make([]T, pageSize(page))
		return
	}
	var full []*[fullPage]T
	if old := p.full.Load(); old != nil {
		full = *old
	}
	full = append(full, p.fullPage())
	p.full.Store(&full)
}

func (p *pages[T]) fullPage() *[fullPage]T {
	if page := p.supply.page(); page != nil {
		return (*[fullPage]T)(page)
	}
	return new([fullPage]T)
}

// size returns how many elements the pages hold. Only the writer calls it.
func (p *pages[T]) size() uint32 { return pageStart(p.count) }

// memory returns the bytes held. Only the writer calls it.
func (p *pages[T]) memory() int64 {
	var element T
	n := int64(p.size()) * int64(unsafe.Sizeof(element))
	if full := p.full.Load(); full != nil {
		n += int64(cap(*full)) * int64(unsafe.Sizeof((*full)[0]))
	}
	return n
}

func pageOf(id uint32) int {
	if id >= fullPage {
		return int(id>>fullPageBits) + smallPages - 1
	}
	return bits.Len32(id >> firstPageBits)
}

// pageStart returns the id of a page's first element.
func pageStart(page int) uint32 {
	switch {
	case page == 0:
		return 0
	case page < smallPages:
		return 1 << (firstPageBits + page - 1)
	}
	return uint32(page-smallPages+1) << fullPageBits
}

func pageSize(page int) int { return int(pageStart(page+1) - pageStart(page)) }
