package wal

// image is one file's bytes, and how far frames may reach in them. It is pure:
// all reading of the log happens on images.
type image struct {
	identity
	bytes []byte // from the start of the file up to the last header, or to where the file was cut
	lost  []span // ranges that the disk would not give back, ascending; zero in bytes
}

// span is a range of a file, end exclusive.
type span struct {
	start, end int64
	err        error // the system's
}

// header returns the frame header at offset, if a valid one stands there and
// its payload would fit.
func (m *image) header(offset int64) (frameHeader, bool) {
	if offset+FrameHeaderSize > int64(len(m.bytes)) {
		return frameHeader{}, false
	}
	h, ok := decodeFrameHeader(m.bytes[offset:], m.identity, offset)
	return h, ok && offset+h.size() <= int64(len(m.bytes))
}

// payload returns the bytes behind the header h at offset, if they are those
// that it was written with.
func (m *image) payload(h frameHeader, offset int64) ([]byte, bool) {
	start, end := offset+FrameHeaderSize, offset+h.size()
	b := m.bytes[start:end:end]
	return b, m.sum(start, b) == h.payloadSum
}

// find looks for the frame lsn in the two places where it may stand when the
// one before ended at pos: right there, if no sync came between, or at the next
// page. A header that is valid while its payload is not is returned with ok
// false.
func (m *image) find(lsn LSN, pos int64) (h frameHeader, at int64, payload []byte, ok bool) {
	for _, at := range [...]int64{pos, pageUp(pos)} {
		if h, valid := m.header(at); valid && h.lsn == lsn {
			payload, ok := m.payload(h, at)
			return h, at, payload, ok
		}
	}
	// Nothing of it can be read. Say where it began: the page it was packed into
	// if anything stands there, for a sync leaves zeros behind.
	at = pageUp(pos)
	if at > int64(len(m.bytes)) || !allZero(m.bytes[pos:at]) {
		at = pos
	}
	return frameHeader{}, at, nil, false
}

// lostAt returns the system's error if a page in [start, end) could not be read.
func (m *image) lostAt(start, end int64) error {
	for _, s := range m.lost {
		if s.start < end && start < s.end {
			return s.err
		}
	}
	return nil
}

// survey is what the pages after a bad frame say.
type survey struct {
	synced LSN   // highest frame that a later header calls durable
	begun  bool  // later frames were written
	next   LSN   // first later frame that is readable; 0: none
	nextAt int64 // its offset
}

// survey tries every page boundary from pos on for frames above lsn, and, unless
// final is 0, not above final: what a finished file holds behind its final frame
// is never read. A header is evidence even if its payload is torn: its checksum
// says that we wrote it.
func (m *image) survey(lsn, final LSN, pos int64) survey {
	var s survey
	for at := pageUp(pos); at < int64(len(m.bytes)); at += pageSize {
		h, ok := m.header(at)
		if !ok || h.lsn <= lsn || final != 0 && h.lsn > final {
			continue
		}
		s.begun = true
		s.synced = max(s.synced, h.synced)
		if s.next == 0 {
			if _, ok := m.payload(h, at); ok {
				s.next, s.nextAt = h.lsn, at
			}
		}
	}
	return s
}
