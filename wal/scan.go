package wal

// image is the content of one file, up to where frames may reach. Its methods are pure:
// all decoding of the log works on images.
type image struct {
	identity
	bytes []byte // from the start of the file up to the last header, or to where the file was cut
	lost  []span // ranges that the disk could not read, ascending; zero in bytes
}

// span is a range of a file, end exclusive.
type span struct {
	start, end int64
	err        error // the system's
}

// header returns the frame header at offset, if there is a valid one whose payload would
// fit.
func (m *image) header(offset int64) (frameHeader, bool) {
	if offset+FrameHeaderSize > int64(len(m.bytes)) {
		return frameHeader{}, false
	}
	h, ok := decodeFrameHeader(m.bytes[offset:], m.identity, offset)
	return h, ok && offset+h.size() <= int64(len(m.bytes))
}

// payload returns the bytes after the header h at offset, if their checksum matches.
func (m *image) payload(h frameHeader, offset int64) ([]byte, bool) {
	start, end := offset+FrameHeaderSize, offset+h.size()
	b := m.bytes[start:end:end]
	return b, m.sum(start, b) == h.payloadSum
}

// find looks for the frame lsn. There are two places for it when the frame before ended at
// pos: right there, if there was no sync between them, or at the next page. If the header
// is valid but the payload is not, find returns the header with ok false.
func (m *image) find(lsn LSN, pos int64) (h frameHeader, at int64, payload []byte, ok bool) {
	for _, at := range [...]int64{pos, pageUp(pos)} {
		if h, valid := m.header(at); valid && h.lsn == lsn {
			payload, ok := m.payload(h, at)
			return h, at, payload, ok
		}
	}
	// Nothing of it can be read. It began in the page that it was packed into if that page
	// has anything after pos, because a sync leaves zeros there.
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

// survey is what the frame headers behind a place tell.
type survey struct {
	synced LSN  // highest LSN that one of them names as durable
	begun  bool // there is one
}

// later looks at every page boundary from pos on for headers of frames above lsn. A header
// is evidence even if its payload is torn: its checksum proves that this package wrote it.
func (m *image) later(lsn LSN, pos int64) (s survey) {
	for at := pageUp(pos); at < int64(len(m.bytes)); at += pageSize {
		if h, ok := m.header(at); ok && h.lsn > lsn {
			s.begun, s.synced = true, max(s.synced, h.synced)
		}
	}
	return s
}

// next returns the first sound frame header behind the frame lsn: at pos, or at any page
// boundary behind it. All frames between them must have been durable. If final is not 0, it
// is the last frame of the file, and everything behind it is ignored.
func (m *image) next(lsn LSN, pos int64, durable, final LSN) (h frameHeader, at int64, ok bool) {
	for at := pos; at < int64(len(m.bytes)); at = pageUp(at + 1) {
		h, ok := m.header(at)
		if ok && h.lsn > lsn && h.lsn-1 <= durable && (final == 0 || h.lsn <= final) {
			return h, at, true
		}
	}
	return frameHeader{}, 0, false
}
