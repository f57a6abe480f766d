package segment

import (
	"fmt"
	"io/fs"
	"math"
	"sync"

	"kvd/internal/vfs"
)

// held is the end of a segment that is in memory and not in its file. Readers find it there; the
// order of its records is that of their offsets, as in the file. Bytes that were held once do not
// change, so that they can be read without a lock.
type held struct {
	writing sync.Mutex // held by the one WriteHeld under way; taken before mu
	failed  error      // of a WriteHeld: the file may lack anything behind. Guarded by writing

	mu     sync.Mutex // a leaf; guards pieces, and the changes of Segment.heldFrom
	pieces []piece    // ascending; index blocks that are not written yet lie in between
}

// piece is a range of a segment that is held in memory.
type piece struct {
	offset int64
	bytes  []byte // whole records
}

func (p *piece) end() int64 { return p.offset + int64(len(p.bytes)) }

// nothingHeld is Segment.heldFrom if nothing is held.
const nothingHeld = math.MaxInt64

// Hold is Append without the write: the bytes stay in memory until WriteHeld. It copies p.
// Readers can read the records from then on.
func (s *Segment) Hold(p []byte) (offset int64) {
	offset = s.size.Load()
	s.checkRoom(p, offset)
	s.held.mu.Lock()
	defer s.held.mu.Unlock()
	if n := len(s.held.pieces); n > 0 && s.held.pieces[n-1].end() == offset {
		last := &s.held.pieces[n-1]
		last.bytes = append(last.bytes, p...)
	} else {
		s.held.pieces = append(s.held.pieces, piece{offset, append([]byte(nil), p...)})
		s.heldFrom.CompareAndSwap(nothingHeld, offset)
	}
	s.size.Store(offset + int64(len(p)))
	return offset
}

// WriteHeld writes what was held before the call to the file, in the order of the offsets, and
// returns how many bytes that were. The file must be open if something is held. Any goroutine may
// call it while the writer appends. After an error that matches vfs.ErrNoSpace the rest is still
// held, and the call may be repeated; after any other error WriteHeld tries nothing again and
// returns that error.
func (s *Segment) WriteHeld() (written int64, err error) {
	s.held.writing.Lock()
	defer s.held.writing.Unlock()
	for end := s.size.Load(); ; {
		p, ok := s.firstHeld(end)
		if !ok {
			return written, nil
		}
		if err := s.writePiece(&p); err != nil {
			return written, err
		}
		s.dropHeld(len(p.bytes))
		written += int64(len(p.bytes))
	}
}

// Holds reports whether something is held. Safe for concurrent use.
func (s *Segment) Holds() bool { return s.heldFrom.Load() != nothingHeld }

// firstHeld returns the first piece, if it begins before an offset.
func (s *Segment) firstHeld(before int64) (piece, bool) {
	s.held.mu.Lock()
	defer s.held.mu.Unlock()
	if len(s.held.pieces) == 0 || s.held.pieces[0].offset >= before {
		return piece{}, false
	}
	return s.held.pieces[0], true
}

// writePiece writes a piece. The caller holds writing.
func (s *Segment) writePiece(p *piece) error {
	if s.held.failed != nil {
		return s.held.failed
	}
	err := fs.ErrClosed
	if s.file != nil {
		_, err = s.file.WriteAt(p.bytes, p.offset)
		s.unsynced.Store(true) // behind the write: a sync meanwhile does not cover all of it
	}
	if err == nil {
		return nil
	}
	err = fmt.Errorf("segment: append to %s: %w", s.path, err)
	if !vfs.Refuses(err) {
		s.held.failed = err
	}
	return err
}

// dropHeld removes the first n bytes of the first piece: the file has them.
func (s *Segment) dropHeld(n int) {
	s.held.mu.Lock()
	defer s.held.mu.Unlock()
	if first := &s.held.pieces[0]; n < len(first.bytes) {
		first.offset, first.bytes = first.offset+int64(n), first.bytes[n:]
	} else {
		s.held.pieces = s.held.pieces[1:]
	}
	from := int64(nothingHeld)
	if len(s.held.pieces) > 0 {
		from = s.held.pieces[0].offset
	} else {
		s.held.pieces = nil
	}
	s.heldFrom.Store(from)
}

// checkNothingHeld panics if something before an offset is held.
func (s *Segment) checkNothingHeld(before int64) {
	if from := s.heldFrom.Load(); from < before {
		panic(fmt.Sprintf("segment: what is held from %d on was not written", from))
	}
}

// readHeld copies the bytes at an offset where a record begins, if they are held. What lies behind
// the held ones is zero in p.
func (s *Segment) readHeld(p []byte, offset int64) bool {
	if offset < s.heldFrom.Load() {
		return false
	}
	s.held.mu.Lock()
	defer s.held.mu.Unlock()
	for _, h := range s.held.pieces {
		if h.offset <= offset && offset < h.end() {
			clear(p[copy(p, h.bytes[offset-h.offset:]):])
			return true
		}
	}
	return false
}

// heldIn returns the pieces that are held of [from, to).
func (s *Segment) heldIn(from, to int64) (pieces []piece) {
	if to <= s.heldFrom.Load() {
		return nil
	}
	s.held.mu.Lock()
	defer s.held.mu.Unlock()
	for _, h := range s.held.pieces {
		if h.offset < to && from < h.end() {
			pieces = append(pieces, h)
		}
	}
	return pieces
}

// wholeFile is a segment's file with what the segment holds.
type wholeFile struct {
	vfs.File
	segment *Segment
}

// ReadAt implements vfs.File. What is held is looked up first: what is not held then is in the file.
func (f *wholeFile) ReadAt(p []byte, off int64) (int, error) {
	end := off + int64(len(p))
	pieces := f.segment.heldIn(off, end)
	n, err := f.File.ReadAt(p, off)
	have := off + int64(n)
	for i := range pieces {
		h := &pieces[i]
		from, to := max(h.offset, off), min(h.end(), end)
		copy(p[from-off:to-off], h.bytes[from-h.offset:])
		if from <= have {
			have = max(have, to)
		}
	}
	if have == end {
		return len(p), nil
	}
	return int(have - off), err
}
