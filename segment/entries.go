package segment

import (
	"errors"
	"fmt"
	"slices"

	"kvd/internal/vfs"
	"kvd/kv"
)

// Entries calls fn for every record within Desc, in file order, from the index blocks. Each of
// their pages names its records alone: the records of a page that is unreadable are found by
// walking, as Walk does but without their values. Entries calls damaged for a damaged file
// header, for every such page, and for every walked range without a valid record. The Entry and
// its Key are valid until fn returns. Entries returns fn's error, the system's error of opening
// the file, or an error that matches kv.ErrVersion at a record of a later version. It needs no
// pin, but the file must not be removed during the call.
func (s *Segment) Entries(fn func(*Entry) error, damaged func(*kv.CorruptError)) error {
	file, err := s.openToRead()
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // nothing was written
	if s.headerDamage != nil {
		damaged(s.headerDamage)
	}
	d := s.Desc()
	r := reader{walker: s.newWalker(file, d.Size, damaged), pages: window{file: file, end: d.Size}, fn: fn, pos: HeaderSize}
	for _, b := range r.blocks(&d) {
		if err := r.block(b); err != nil {
			return err
		}
	}
	return r.walkTo(d.Size)
}

// reader is one call of Entries.
type reader struct {
	*walker
	pages window // in which index pages are read
	fn    func(*Entry) error
	pos   int64 // the records before it are done
	entry Entry // of the current record of a walk
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
	sound := true
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
		if damage != nil {
			sound = false
			r.damaged(r.s.damage(offset, "index page", damage))
		}
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
// does the records before that one, and returns the damage. err ends Entries.
func (r *reader) pageEntries(h *pageHeader, entries []byte) (damage, err error) {
	if err := r.walkTo(h.first); err != nil {
		return nil, err
	}
	p := newPageReader(entries, h)
	for p.advance() {
		if err := r.fn(&p.entry); err != nil {
			return nil, err
		}
		if p.entry.Op != Erase {
			r.last = p.entry.Revision
		}
		r.pos = p.next
	}
	if errors.Is(p.err, kv.ErrVersion) {
		return nil, fmt.Errorf("segment: read %s: %w", r.s.path, p.err)
	}
	return p.err, nil
}

// walkTo finds the records from the present position to an offset that no index page names.
func (r *reader) walkTo(to int64) error {
	pos := r.pos
	r.pos = max(pos, to)
	if pos >= to {
		return nil
	}
	return r.walk(pos, to, func(f *found) error {
		r.entry = Entry{
			Key: f.record.Key, Revision: f.record.Revision, Floor: f.record.Floor,
			Created: f.record.Created, Deadline: f.record.Deadline,
			Offset: f.offset, Size: uint32(f.size), ValueLen: uint32(f.value),
			Op: f.record.Op, Reason: f.record.Reason, First: f.record.First, Lost: f.record.Lost,
		}
		return r.fn(&r.entry)
	})
}

func readFull(f vfs.File, b []byte, offset int64) error {
	n, err := f.ReadAt(b, offset)
	if n == len(b) {
		return nil // io.ReaderAt may return io.EOF with the last byte
	}
	return err
}
