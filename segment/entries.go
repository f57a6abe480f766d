package segment

import (
	"slices"

	"kvd/internal/vfs"
	"kvd/kv"
)

// Entries calls fn for every record within Desc, in file order, from the index blocks. If a
// block is unreadable, or names a predecessor that is unreadable, it finds the records that no
// block covers by walking, as Walk does but without their values. It calls damaged for a
// damaged file header, for every such block, and for every walked range without a valid
// record. The Entry and its Key are valid until fn returns. It returns fn's error, or the
// system's error of opening the file. It needs no pin, but the file must not be removed during
// the call.
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
	r := reader{walker: s.newWalker(file, d.Size, damaged), fn: fn}
	pos := int64(HeaderSize)
	for _, b := range r.chain(d) {
		if err := r.walkEntries(pos, b.start); err != nil {
			return err
		}
		if err := r.blockEntries(b.offset, &b.blockHeader); err != nil {
			return err
		}
		pos = blockEnd(b.offset, int64(b.length))
	}
	return r.walkEntries(pos, d.Size)
}

// reader is one call of Entries.
type reader struct {
	*walker
	fn    func(*Entry) error
	body  []byte // of the current block
	entry Entry  // entry of the current record of a walk
}

type placedBlock struct {
	offset int64
	blockHeader
}

// chain returns the headers of the index blocks that can be reached from the last one, in file
// order. The records that they cover do not overlap.
func (r *reader) chain(d Desc) (blocks []placedBlock) {
	for offset := d.LastIndex; offset != 0; {
		h, err := r.readBlockHeader(offset)
		if err != nil {
			r.damaged(r.s.damage(offset, "index block", err))
			break
		}
		blocks = append(blocks, placedBlock{offset, h})
		offset = h.prev // it is before h.start, so the loop ends
	}
	slices.Reverse(blocks)
	return blocks
}

func (r *reader) readBlockHeader(offset int64) (blockHeader, error) {
	var b [blockHeaderSize]byte
	if err := readFull(r.file, b[:], offset); err != nil {
		return blockHeader{}, err
	}
	return r.s.seed.decodeBlockHeader(b[:], r.s.placeOf(offset))
}

func readFull(f vfs.File, b []byte, offset int64) error {
	n, err := f.ReadAt(b, offset)
	if n == len(b) {
		return nil // io.ReaderAt may return io.EOF with the last byte
	}
	return err
}

// blockEntries reads the entries of one block. It finds the records of unreadable entries by
// walking.
func (r *reader) blockEntries(offset int64, h *blockHeader) error {
	r.body = slices.Grow(r.body[:0], int(h.length))[:h.length]
	err := readFull(r.file, r.body, offset+blockHeaderSize)
	if err == nil && r.s.seed.sum(r.body) != h.bodySum {
		err = errBlockBodySum
	}
	next := h.start
	if err == nil {
		entries := newEntryReader(r.body, h, offset)
		for entries.advance() {
			if err := r.fn(&entries.entry); err != nil {
				return err
			}
			if entries.entry.Op != Erase {
				r.last = entries.entry.Revision
			}
		}
		next, err = entries.next, entries.err
	}
	if err != nil {
		r.damaged(r.s.damage(offset, "index block", err))
		return r.walkEntries(next, offset)
	}
	return nil
}

// walkEntries calls fn with an entry for each record found in [from, to).
func (r *reader) walkEntries(from, to int64) error {
	return r.walk(from, to, func(f *found) error {
		r.entry = Entry{
			Key: f.record.Key, Revision: f.record.Revision, Floor: f.record.Floor,
			Created: f.record.Created, Deadline: f.record.Deadline,
			Offset: f.offset, Size: uint32(f.size), ValueLen: uint32(f.value),
			Op: f.record.Op, Reason: f.record.Reason,
		}
		return r.fn(&r.entry)
	})
}
