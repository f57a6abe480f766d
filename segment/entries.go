package segment

import (
	"errors"
	"fmt"
	"slices"

	"kvd/internal/vfs"
	"kvd/kv"
)

// Hole is a part of a segment in which records are missing, and nobody knows of which keys.
type Hole struct {
	From, To int64  // offsets: the missing records were in between
	Records  uint64 // number of missing records; 0: unknown, because others were found in their place

	// The missing records have revisions above After, the last before the hole, and up to Bound:
	// the first behind the hole is above it. Both are equal if only erases can be missing.
	// After is 0 if there is none before, Bound if the segment has erases alone.
	After, Bound kv.Revision

	Err *kv.CorruptError
}

// Entries calls fn for every record within Desc, in file order, from the index blocks. Each of
// their pages names its records alone: the records that no sound page names are found by
// walking, as Walk does but without their values. Then the totals before and behind them tell
// whether these are all, and no others. If they are not, Entries calls missing at its end, or
// damaged with the error of the hole if missing is nil. There is one hole at most: where totals
// contradict each other twice, what lies between is not certain either.
//
// Entries calls damaged for a damaged file header, for a file that is too short, for every
// unsound page, and for every walked range without a valid record. None of them is a hole by
// itself. The Entry and its Key are valid until fn returns. Entries returns fn's error, the
// system's error of opening the file, or an error that matches kv.ErrVersion at a record of a
// later version. It needs no pin, but the file must not be removed during the call.
func (s *Segment) Entries(fn func(*Entry) error, damaged func(*kv.CorruptError), missing func(Hole)) error {
	file, err := s.openToRead()
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // nothing was written
	for _, d := range s.damages {
		damaged(d)
	}
	d := s.Desc()
	end := s.readable(d.Size)
	r := reader{
		walker: s.newWalker(file, end, damaged), pages: window{file: file, end: end},
		fn: fn, missing: missing, pos: HeaderSize, agreed: mark{pos: HeaderSize}, named: mark{pos: HeaderSize},
	}
	for _, b := range r.blocks(&d) {
		if err := r.block(b); err != nil {
			return err
		}
	}
	if err := r.walkTo(d.Size); err != nil {
		return err
	}
	r.compare(totals{d.Records, d.Sum}, d.Size)
	r.bound(d.Last)
	r.reportHole()
	return nil
}

// reader is one call of Entries.
type reader struct {
	*walker
	pages   window // in which index pages are read
	fn      func(*Entry) error
	missing func(Hole)
	entry   Entry // of the current record of a walk

	pos  int64  // the records before it are done
	told int64  // the records before it were passed to fn, though they are walked again
	have totals // of the records that are done, as far as they were found

	// Up to where the totals agreed, and behind the names of the last sound page. A page that a
	// disk wrote in an earlier life of the file is sound too; only the totals behind it tell.
	agreed, named mark
	high          kv.Revision // the highest revision found since agreed, or since the hole began

	hole    Hole // Err is nil until there is one
	unbound bool // nothing behind the hole was found yet
}

// mark is a place in the file.
type mark struct {
	pos     int64
	last    kv.Revision // the last revision before
	damages int         // found by walking before
}

func (r *reader) mark(pos int64) mark { return mark{pos, r.last, r.damages} }

// compare notes a hole if what was found up to an offset is not what the totals there say.
func (r *reader) compare(want totals, to int64) {
	if r.have != want {
		r.addHole(want, to)
	}
	r.have, r.agreed = want, r.mark(to)
	r.named = r.agreed
	if r.hole.Err == nil {
		r.high = 0
	}
}

func (r *reader) addHole(want totals, to int64) {
	h := &r.hole
	known := h.Err == nil || h.Records > 0
	if h.Err == nil {
		begin := r.agreed
		if r.damages > r.named.damages || to > r.end { // that explains it, so the last page was right
			begin = r.named
		}
		*h = Hole{From: begin.pos, After: begin.last, Err: r.s.corrupt(begin.pos, r.cause(begin.pos, to), "")}
	}
	h.To, h.Bound, r.unbound = to, max(h.After, r.high), true
	if known && r.have.records < want.records {
		h.Records += want.records - r.have.records
	} else {
		h.Records = 0
	}
}

// bound tells the hole that what is behind it has revisions above last.
func (r *reader) bound(last kv.Revision) {
	if r.unbound {
		r.hole.Bound, r.unbound = max(r.hole.Bound, last), false
	}
}

// reportHole completes the hole, if there is one, and passes it to its receiver.
func (r *reader) reportHole() {
	h := &r.hole
	if h.Err == nil {
		return
	}
	h.Err.After, h.Err.UpTo = h.After, h.Bound
	h.Err.Detail = fmt.Sprintf("records are missing before offset %d, or others are in their place", h.To)
	if h.Records > 0 {
		h.Err.Detail = fmt.Sprintf("%d records are missing before offset %d", h.Records, h.To)
	}
	if r.missing == nil {
		r.damaged(h.Err)
		return
	}
	r.missing(*h)
}

// tell passes an entry to fn.
func (r *reader) tell(e *Entry) error {
	if e.Op != Erase {
		r.high = max(r.high, e.Revision)
	}
	return r.fn(e)
}

// page reads the index page at offset. The entries are valid until the next call.
func (r *reader) page(offset int64) (pageHeader, []byte, error) {
	h, entries, err := r.s.seed.decodePage(r.pages.at(offset, pageSize), r.s.placeOf(offset))
	if err != nil {
		if cause := r.pages.cause(offset, offset+pageSize); cause != nil {
			err = cause
		}
	}
	return h, entries, err
}

// blocks returns the places of the index blocks, in file order. Each page tells where the block
// before is. If all pages of a block are lost, the blocks before it are found by reading all
// that is before.
func (r *reader) blocks(d *Desc) (blocks []extent) {
	r.pages.size = pageSize
	for b := d.lastBlock(); b.offset != 0; {
		blocks = append(blocks, b)
		prev, ok := r.before(b)
		if !ok {
			found := r.findBlocks(b.offset)
			slices.Reverse(found)
			blocks = append(blocks, found...)
			break
		}
		b = prev // it is before this one, so the loop ends
	}
	slices.Reverse(blocks)
	return blocks
}

// before returns the block before b. ok is false if no page of b is sound.
func (r *reader) before(b extent) (prev extent, ok bool) {
	for offset := b.offset; offset < b.end(); offset += pageSize {
		if h, _, err := r.page(offset); err == nil && h.block == b {
			return h.prev, true
		}
	}
	return extent{}, false
}

// findBlocks returns the blocks before an offset that have a sound page, in file order. They do
// not overlap.
func (r *reader) findBlocks(to int64) (blocks []extent) {
	r.pages.size = windowSize
	end := int64(pageSize)
	for offset := end; offset < to; offset += pageSize {
		h, _, err := r.page(offset)
		if err == nil && h.block.offset >= end && h.block.end() <= to {
			blocks, end = append(blocks, h.block), h.block.end()
		}
	}
	return blocks
}

// block does the records up to the end of a block.
func (r *reader) block(b extent) error {
	r.pages.size = int(min(windowSize, b.end()-b.offset))
	sound, wasSound := true, true
	for offset := b.offset; offset < b.end(); offset += pageSize {
		h, entries, damage := r.page(offset)
		if damage == nil && (h.block != b || h.first < r.pos) {
			damage = errPageRange
		}
		if damage == nil {
			var err error
			if damage, err = r.pageEntries(&h, entries); err != nil {
				return err
			}
		}
		if damage != nil && wasSound { // one report for neighbouring pages
			r.damaged(r.s.damage(offset, "index page", damage))
		}
		wasSound = damage == nil
		sound = sound && wasSound
	}
	// What follows the last entry are zeros, unless there are records that no page names.
	r.blockAt = b.offset
	if !sound || pageAlign(r.pos) != b.offset {
		if err := r.walkTo(b.offset); err != nil {
			return err
		}
	}
	r.pos = b.end()
	return nil
}

// pageEntries does the records up to the last that a page names. If an entry is malformed, it
// does the records before that one, and returns the damage; a walk has to count them all. err
// ends Entries.
func (r *reader) pageEntries(h *pageHeader, entries []byte) (damage, err error) {
	if err := r.walkTo(h.first); err != nil {
		return nil, err
	}
	r.compare(h.before, h.first)
	p := newPageReader(entries, h)
	for p.advance() {
		if p.entry.Op != Erase {
			r.bound(p.entry.Revision - 1)
			r.last = p.entry.Revision
		}
		if err := r.tell(&p.entry); err != nil {
			return nil, err
		}
	}
	if errors.Is(p.err, kv.ErrVersion) {
		return nil, fmt.Errorf("segment: read %s: %w", r.s.path, p.err)
	}
	if p.err != nil {
		r.told = p.next
		return p.err, nil
	}
	r.pos, r.have = p.next, h.before.plus(h.own)
	r.named = r.mark(p.next)
	return nil, nil
}

// walkTo finds the records from the present position to an offset that no index page names.
func (r *reader) walkTo(to int64) error {
	pos := r.pos
	r.pos = max(pos, to)
	if pos >= to {
		return nil
	}
	return r.walk(pos, min(to, r.end), func(f *found) error {
		r.have = r.have.plus(totals{1, f.headSum})
		if f.offset < r.told {
			return nil
		}
		r.entry = Entry{
			Key: f.record.Key, Revision: f.record.Revision, Floor: f.record.Floor,
			Created: f.record.Created, Deadline: f.record.Deadline,
			Offset: f.offset, Size: uint32(f.size), ValueLen: f.storedLen(), File: f.record.File.Number,
			Op: f.record.Op, Reason: f.record.Reason, First: f.record.First, Lost: f.record.Lost,
		}
		return r.tell(&r.entry)
	})
}

func readFull(f vfs.File, b []byte, offset int64) error {
	n, err := f.ReadAt(b, offset)
	if n == len(b) {
		return nil // io.ReaderAt may return io.EOF with the last byte
	}
	return err
}
