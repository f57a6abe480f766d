package simdisk

import (
	"bytes"
	"slices"
	"sync/atomic"
)

// SectorSize is what a disk writes at once, in bytes: the unit that a power cut
// keeps, loses or tears.
const SectorSize = 512

// pageSize is the unit of sharing and of disk space.
const pageSize = 4096

type page = [pageSize]byte

// zeroPage stands for every page that was allocated or filled with zeros, so that a
// preallocated log costs an entry of the table and no page. It is never written.
var zeroPage page

// content is the bytes of one file: pages that any number of contents share
// until one of them writes. The zero value is an empty file.
//
// A content may write only the pages and the table that have its owner's number.
// So clone takes O(1): it resets the number. The next write copies the table of pages
// and the page that it touches. Two contents that own nothing in common may be used
// by different goroutines.
type content struct {
	size  int64
	end   int64 // bytes at and beyond it are zero; unrelated to size
	pages []pageRef
	owner uint64 // 0: the table of pages is shared too
	used  int    // pages that are not holes
}

type pageRef struct {
	page  *page // nil: a hole
	owner uint64
}

var owners atomic.Uint64

// clone returns a second content with the same bytes.
func (c *content) clone() content {
	c.owner = 0
	return *c
}

// makeOwned copies the table of pages if it is shared, and gives it at least n entries.
func (c *content) makeOwned(n int) {
	if c.owner == 0 {
		c.owner = owners.Add(1)
		c.pages = append(make([]pageRef, 0, max(n, len(c.pages))), c.pages...)
	}
	if n > len(c.pages) {
		c.pages = append(c.pages, make([]pageRef, n-len(c.pages))...)
	}
}

// writable returns the i-th page for writing.
func (c *content) writable(i int) *page {
	c.makeOwned(i + 1)
	s := &c.pages[i]
	if s.page != nil && s.owner == c.owner {
		return s.page
	}
	fresh := new(page)
	if s.page == nil {
		c.used++
	} else if s.page != &zeroPage {
		*fresh = *s.page
	}
	*s = pageRef{fresh, c.owner}
	return fresh
}

// at returns the i-th page for reading; nil is all zeros.
func (c *content) at(i int) *page {
	if i >= len(c.pages) || c.pages[i].page == &zeroPage {
		return nil
	}
	return c.pages[i].page
}

// read fills p with the bytes at off, zeros beyond the end included.
func (c *content) read(p []byte, off int64) {
	for len(p) > 0 {
		i, from := split(off)
		n := min(len(p), pageSize-from)
		if src := c.at(i); src != nil {
			copy(p[:n], src[from:])
		} else {
			clear(p[:n])
		}
		p, off = p[n:], off+int64(n)
	}
}

// write puts p at off. The size stays as it is.
func (c *content) write(p []byte, off int64) {
	c.end = max(c.end, off+int64(len(p)))
	for len(p) > 0 {
		i, from := split(off)
		n := min(len(p), pageSize-from)
		if n == pageSize && bytes.Equal(p[:n], zeroPage[:]) {
			c.zeroPage(i)
		} else {
			copy(c.writable(i)[from:], p[:n])
		}
		p, off = p[n:], off+int64(n)
	}
}

// zero writes zeros to [off, off+n). The size stays as it is.
func (c *content) zero(off, n int64) {
	for n > 0 {
		i, from := split(off)
		k := min(n, int64(pageSize-from))
		switch {
		case k == pageSize, i >= len(c.pages), c.pages[i].page == nil:
			c.zeroPage(i)
		case c.pages[i].page != &zeroPage:
			clear(c.writable(i)[from : from+int(k)])
		}
		off, n = off+k, n-k
	}
}

// zeroPage makes the i-th page one of zeros.
func (c *content) zeroPage(i int) {
	if i < len(c.pages) && c.pages[i].page == &zeroPage {
		return
	}
	c.makeOwned(i + 1)
	if c.pages[i].page == nil {
		c.used++
	}
	c.pages[i] = pageRef{page: &zeroPage}
}

// allocate gives every hole in [off, off+n) a page.
func (c *content) allocate(off, n int64) {
	first, last := pagesOf(off, n)
	for i := first; i < last; i++ {
		if i >= len(c.pages) || c.pages[i].page == nil {
			c.zeroPage(i)
		}
	}
}

// holes returns how many pages of [off, off+n) are holes.
func (c *content) holes(off, n int64) int {
	first, last := pagesOf(off, n)
	holes := last - first
	for i := first; i < min(last, len(c.pages)); i++ {
		if c.pages[i].page != nil {
			holes--
		}
	}
	return holes
}

// fitting returns how many of the n bytes at off can be written if at most free
// holes may be filled. If copies is true, every page counts as a hole.
func (c *content) fitting(off int64, n, free int, copies bool) int {
	first, last := pagesOf(off, int64(n))
	for i := first; i < last; i++ {
		if !copies && i < len(c.pages) && c.pages[i].page != nil {
			continue
		}
		if free--; free < 0 {
			return int(max(int64(i)*pageSize-off, 0))
		}
	}
	return n
}

// resize sets the size and removes every byte beyond it, so that the file shows
// zeros there when it grows again.
func (c *content) resize(size int64) {
	keep, from := split(size)
	if from > 0 {
		if c.end > size && c.at(keep) != nil {
			clear(c.writable(keep)[from:])
		}
		keep++
	}
	c.size, c.end = size, min(c.end, size)
	c.removeFrom(keep)
}

// removeFrom turns the pages from the i-th on into holes.
func (c *content) removeFrom(i int) {
	if i >= len(c.pages) {
		return
	}
	c.makeOwned(0)
	for _, s := range c.pages[i:] {
		if s.page != nil {
			c.used--
		}
	}
	clear(c.pages[i:])
	c.pages = c.pages[:i]
}

// isZero reports whether [off, off+n) is known to be zeros without looking at
// the bytes.
func (c *content) isZero(off, n int64) bool {
	first, last := pagesOf(off, n)
	return !slices.ContainsFunc(c.pages[min(first, len(c.pages)):min(last, len(c.pages))],
		func(s pageRef) bool { return s.page != nil && s.page != &zeroPage })
}

// split returns the page of an offset and the place in it.
func split(off int64) (i, from int) { return int(off / pageSize), int(off % pageSize) }

// pagesOf returns the pages that [off, off+n) touches, the last one excluded.
func pagesOf(off, n int64) (first, last int) {
	return int(off / pageSize), int((off + n + pageSize - 1) / pageSize)
}
