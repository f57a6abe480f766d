package segment

import (
	"bytes"

	"github.com/cespare/xxhash/v2"
)

// pageSize is the size and the alignment of the pages of an index block, in bytes. Appends
// continue at the next page, so that bytes that a checkpoint made durable never share a page
// with a later write, and a lost page takes records or the entries that name them, never both.
const pageSize = 4096

func pageAlign(n int64) int64 { return (n + pageSize - 1) &^ (pageSize - 1) }

// Offsets of the fields of an index page's header; see the package doc.
const (
	pageSum       = 8
	pagePrev      = 16
	pageBlock     = 24
	pageFirst     = 32
	pageRecords   = 40
	pageHeadSums  = 48
	pageOwnSums   = 56
	pagePrevPages = 64
	pagePages     = 68
	pageCount     = 72
	pageLength    = 76

	pageHeaderSize = 80

	// pageRoom is the room for entries in a page, in bytes.
	pageRoom = pageSize - pageHeaderSize
)

// extent is the place of an index block in its file.
type extent struct {
	offset int64  // of the first page; 0: there is no block
	pages  uint32 // their number
}

func (x extent) end() int64 { return x.offset + int64(x.pages)*pageSize }

// totals are about the first records of a segment, up to some place.
type totals struct {
	records uint64 // their number, dead ones and erases included
	sum     uint64 // of their head checksums, mod 2^64
}

func (t totals) plus(u totals) totals { return totals{t.records + u.records, t.sum + u.sum} }

// pageHeader describes a page of an index block.
type pageHeader struct {
	prev   extent // the block before
	block  extent // the block of the page
	first  int64  // offset of the first record that the page names
	before totals // of the records before that one
	own    totals // of the records that the page names
	length uint32 // of the entries, bytes
}

// place is the place of an index page. The page's checksum covers it, so that a page that was
// written or moved elsewhere is not valid.
type place struct {
	bucketID uint64
	number   uint64 // of the segment
	offset   int64
}

const (
	errPageMagic formatError = "no index page"
	errPageSum   formatError = "checksum of the index page does not match"
	errPageRange formatError = "index page's range or length is impossible"
)

// putPageHeader completes a page whose entries are in place: b has pageSize bytes, and zeros behind
// the entries.
func (s Seed) putPageHeader(b []byte, p place, h *pageHeader) {
	copy(b, pageMagic)
	le.PutUint64(b[pagePrev:], uint64(h.prev.offset))
	le.PutUint64(b[pageBlock:], uint64(h.block.offset))
	le.PutUint64(b[pageFirst:], uint64(h.first))
	le.PutUint64(b[pageRecords:], h.before.records)
	le.PutUint64(b[pageHeadSums:], h.before.sum)
	le.PutUint64(b[pageOwnSums:], h.own.sum)
	le.PutUint32(b[pagePrevPages:], h.prev.pages)
	le.PutUint32(b[pagePages:], h.block.pages)
	le.PutUint32(b[pageCount:], uint32(h.own.records))
	le.PutUint32(b[pageLength:], h.length)
	le.PutUint64(b[pageSum:], s.pageSum(p, b))
}

// decodePage checks the page in b, and returns its header and its entries. The ranges that it
// returns are possible: the block before ends at or before the first record, which is before
// this block, to which the page belongs.
func (s Seed) decodePage(b []byte, p place) (h pageHeader, entries []byte, err error) {
	if len(b) < pageSize || string(b[:len(pageMagic)]) != pageMagic {
		return pageHeader{}, nil, errPageMagic
	}
	if s.pageSum(p, b) != le.Uint64(b[pageSum:]) {
		return pageHeader{}, nil, errPageSum
	}
	h = pageHeader{
		prev:   extent{int64(le.Uint64(b[pagePrev:])), le.Uint32(b[pagePrevPages:])},
		block:  extent{int64(le.Uint64(b[pageBlock:])), le.Uint32(b[pagePages:])},
		first:  int64(le.Uint64(b[pageFirst:])),
		before: totals{le.Uint64(b[pageRecords:]), le.Uint64(b[pageHeadSums:])},
		own:    totals{uint64(le.Uint32(b[pageCount:])), le.Uint64(b[pageOwnSums:])},
		length: le.Uint32(b[pageLength:]),
	}
	if !h.possible(p.offset) || len(bytes.TrimLeft(b[pageHeaderSize+h.length:pageSize], "\x00")) > 0 {
		return pageHeader{}, nil, errPageRange
	}
	return h, b[pageHeaderSize : pageHeaderSize+h.length], nil
}

// possible reports whether a page at offset can have the header.
func (h *pageHeader) possible(offset int64) bool {
	start := int64(HeaderSize) // of what the page may name
	if h.prev != (extent{}) {
		if h.prev.offset < pageSize || h.prev.offset%pageSize != 0 || h.prev.pages == 0 {
			return false
		}
		start = h.prev.end()
	}
	return h.own.records > 0 && 0 < h.length && h.length <= pageRoom &&
		start <= h.first && h.first%alignment == 0 && h.first < h.block.offset && h.block.offset%pageSize == 0 &&
		h.block.offset <= offset && offset < h.block.end() && h.block.end() <= MaxSize
}

// pageSum returns the checksum of the page b at place p.
func (s Seed) pageSum(p place, b []byte) uint64 {
	var at [24]byte
	le.PutUint64(at[0:], p.bucketID)
	le.PutUint64(at[8:], p.number)
	le.PutUint64(at[16:], uint64(p.offset))
	var d xxhash.Digest
	d.ResetWithSeed(uint64(s))
	_, _ = d.Write(at[:])
	_, _ = d.Write(b[pagePrev:pageSize])
	return d.Sum64()
}

// pageReader reads the entries of an index page in file order.
type pageReader struct {
	entry  Entry // the current one; its Key aliases body
	body   []byte
	count  uint64 // entries that are not read yet
	next   int64  // offset of the first record whose entry is not read yet
	end    int64  // of the last record at most
	deltas deltas
	err    error // why reading stopped early; matches kv.ErrCorrupt or kv.ErrVersion
}

func newPageReader(entries []byte, h *pageHeader) pageReader {
	return pageReader{body: entries, count: h.own.records, next: h.first, end: h.block.offset}
}

// advance reads the next entry. It returns false at the end, and sets err if the entries are
// malformed.
func (r *pageReader) advance() bool {
	if r.count == 0 {
		if len(r.body) != 0 {
			r.err = errEntry
		}
		return false
	}
	n, err := r.deltas.decodeEntry(r.body, &r.entry)
	if err == nil && int64(r.entry.Size) > r.end-r.next {
		err = errEntry
	}
	if err != nil {
		r.err = err
		return false
	}
	r.entry.Offset = r.next
	r.next += int64(r.entry.Size)
	r.body = r.body[n:]
	r.count--
	return true
}

var _ = [1]struct{}{}[pageLength+4-pageHeaderSize]
