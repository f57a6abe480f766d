package segment

import (
	"fmt"

	"kvd/internal/vfs"
	"kvd/kv"
)

// AddEntry adds the index entry of one record, with the record's HeadSum. It must be called for
// every appended record, in the order of their offsets, before BeginIndex. It copies the key.
func (s *Segment) AddEntry(e *Entry) {
	if e.Offset != s.pending.next || e.Offset+int64(e.Size) > s.size.Load() {
		panic(fmt.Sprintf("segment: entry of the record at %d, want that of the record at %d", e.Offset, s.pending.next))
	}
	s.pending.add(e)
}

// pending is the index block that is being built. An entry is encoded when its record is
// appended, so that a checkpoint has little to do.
type pending struct {
	pages  []pendingPage
	length int64  // of all entries, bytes
	prev   extent // the block before
	next   int64  // offset of the next record to be added
	about  summary
	deltas deltas // of the last page
}

// pendingPage is a page that is being built. Its header lacks the blocks.
type pendingPage struct {
	header  pageHeader
	entries []byte
}

// summary is what a [Desc] says of the records up to some place.
type summary struct {
	totals
	first, last kv.Revision // of records that are no erases; 0: there is none
}

func (u *summary) add(e *Entry) {
	u.records++
	u.sum += e.HeadSum
	if e.Op == Erase {
		return
	}
	if u.first == 0 {
		u.first = e.Revision
	}
	u.last = e.Revision
}

// add packs the entry into the last page, or into a new one if there is too little room.
func (p *pending) add(e *Entry) {
	var room [entryMax]byte
	deltas := p.deltas
	entry := deltas.appendEntry(room[:0], e)
	if n := len(p.pages); n == 0 || len(p.pages[n-1].entries)+len(entry) > pageRoom {
		p.beginPage()
		deltas = p.deltas
		entry = deltas.appendEntry(room[:0], e)
	}
	page := &p.pages[len(p.pages)-1]
	page.entries = append(page.entries, entry...)
	page.header.own = page.header.own.plus(totals{1, e.HeadSum})
	page.header.length = uint32(len(page.entries))
	p.length += int64(len(entry))
	p.next = e.Offset + int64(e.Size)
	p.about.add(e)
	p.deltas = deltas
}

func (p *pending) beginPage() {
	page := pendingPage{header: pageHeader{first: p.next, before: p.about.totals}}
	if len(p.pages) > 0 { // the first page grows from nothing, because most buckets are small
		page.entries = make([]byte, 0, pageRoom)
	}
	p.pages, p.deltas = append(p.pages, page), deltas{}
}

// fillMin is the least length of the entries in a page after which another one begins, bytes.
const fillMin = pageRoom - entryMax + 1

// endWith returns the end of a block at most, if its records end at offset and entries of that
// many bytes at most are added to it.
func (p *pending) endWith(offset, entries int64) int64 {
	n := int64(len(p.pages))
	if n == 0 || int64(len(p.pages[n-1].entries))+entries > pageRoom {
		n = min(n+pagesFor(entries), pagesFor(p.length+entries))
	}
	return pageAlign(offset) + n*pageSize
}

// pagesFor returns the number of pages at most of entries with that many bytes together.
func pagesFor(entries int64) int64 { return (entries + fillMin - 1) / fillMin }

// Block is an index block that is not written yet.
type Block struct {
	from  int64 // end of the records that it covers; zeros follow up to the block
	prev  extent
	at    extent
	pages []pendingPage
	about summary // of all records up to the block
}

// BeginIndex makes a block of the pending entries. The block's place is the next page after the
// end of the segment, and the new end is the end of the block. ok is false if nothing is
// pending. Blocks must be written in the order of the calls.
func (s *Segment) BeginIndex() (b *Block, ok bool) {
	p, offset := &s.pending, s.size.Load()
	if p.next != offset {
		panic(fmt.Sprintf("segment: index of records up to %d where the last ends at %d", p.next, offset))
	}
	if len(p.pages) == 0 {
		return nil, false
	}
	b = &Block{
		from: offset, prev: p.prev, at: extent{pageAlign(offset), uint32(len(p.pages))},
		pages: p.pages, about: p.about,
	}
	s.size.Store(b.at.end())
	s.pending = pending{prev: b.at, next: b.at.end(), about: p.about}
	return b, true
}

// encode returns the zeros before the block and the block.
func (b *Block) encode(seed Seed, bucketID, number uint64) []byte {
	buf := make([]byte, b.at.end()-b.from)
	for i := range b.pages {
		p := &b.pages[i]
		offset := b.at.offset + int64(i)*pageSize
		page := buf[offset-b.from:][:pageSize]
		copy(page[pageHeaderSize:], p.entries)
		p.header.prev, p.header.block = b.prev, b.at
		seed.putPageHeader(page, place{bucketID, number, offset}, &p.header)
	}
	return buf
}

// WriteIndex writes a block that BeginIndex returned. What was held when the block began must have
// been written. The writer may append at the same time.
func (s *Segment) WriteIndex(b *Block) error {
	if prev := s.Desc().LastIndex; prev != b.prev.offset {
		panic(fmt.Sprintf("segment: index block at %d written after the one at %d", b.at.offset, prev))
	}
	s.checkNothingHeld(b.from)
	block := b.encode(s.seed, s.bucketID, s.number)
	vfs.Yield()
	_, err := s.file.WriteAt(block, b.from)
	s.unsynced.Store(true)
	if err != nil {
		return fmt.Errorf("segment: write index to %s: %w", s.path, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d := &s.mu.desc
	d.Size, d.LastIndex = b.at.end(), b.at.offset
	d.Records, d.Sum, d.First, d.Last = b.about.records, b.about.sum, b.about.first, b.about.last
	return nil
}
