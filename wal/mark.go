package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cespare/xxhash/v2"

	"kvd/internal/vfs"
	"kvd/kv"
)

// MarkFile is the name of the mark in the log's directory. It holds no frames.
const MarkFile = "synced"

// The mark. See the package documentation for the diagram.
const (
	markMagic = "kvd.syn\n"

	markVersionAt  = 8
	markFeaturesAt = 12
	markStoreAt    = 16
	markLSNAt      = 32
	markWordsAt    = 40
	markSumAt      = markWordsAt + wordsSize
	markSize       = markSumAt + 8
)

// mark says that all frames up to an LSN are durable.
type mark struct {
	lsn   LSN   // 0: nothing is known
	words Words // of the frame after lsn
}

// encode writes m into b.
func (m mark) encode(b *[markSize]byte, store [16]byte) {
	clear(b[:])
	copy(b[:], markMagic)
	le := binary.LittleEndian
	le.PutUint32(b[markVersionAt:], formatVersion)
	copy(b[markStoreAt:], store[:])
	le.PutUint64(b[markLSNAt:], uint64(m.lsn))
	m.words.encode(b[markWordsAt:])
	le.PutUint64(b[markSumAt:], xxhash.Sum64(b[:markSumAt]))
}

// decodeMark is the inverse of encode. Bytes that are all zero are a mark that was never
// written. The error says why b is not a mark of that store; it matches kv.ErrVersion for
// one of a newer version.
func decodeMark(b *[markSize]byte, store [16]byte) (mark, error) {
	le := binary.LittleEndian
	switch {
	case allZero(b[:]):
		return mark{}, nil
	case string(b[:len(markMagic)]) != markMagic:
		return mark{}, errors.New("no magic number")
	case le.Uint64(b[markSumAt:]) != xxhash.Sum64(b[:markSumAt]):
		return mark{}, errors.New("its checksum does not match")
	case [16]byte(b[markStoreAt:markLSNAt]) != store:
		return mark{}, fmt.Errorf("it belongs to store %x", b[markStoreAt:markLSNAt])
	}
	if err := checkVersion(le.Uint32(b[markVersionAt:]), le.Uint32(b[markFeaturesAt:])); err != nil {
		return mark{}, err
	}
	return mark{lsn: LSN(le.Uint64(b[markLSNAt:])), words: decodeWords(b[markWordsAt:])}, nil
}

// readMark reads the mark. A mark that cannot be used proves nothing, and is a note. The
// error matches kv.ErrVersion for a mark of a newer version; others are the system's.
func (r *Reader) readMark() error {
	p := r.opts.path(MarkFile)
	f, err := r.opts.FS.Open(p, vfs.ReadOnly)
	if err != nil {
		return wrap(err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return wrap(err)
	}
	if size == 0 { // nothing was synced yet
		return nil
	}
	var b [markSize]byte
	err = readFull(f, b[:], 0)
	if err == nil {
		r.mark, err = decodeMark(&b, r.opts.StoreID)
	}
	if errors.Is(err, kv.ErrVersion) {
		return fmt.Errorf("wal: %s: %w", p, err)
	}
	if err != nil {
		r.note("%s is ignored: %v", p, err)
	}
	return nil
}

// markWriter writes the mark. It is owned by the goroutine that appends.
type markWriter struct {
	file vfs.File // nil: no mark is written
	buf  [markSize]byte
}

// open opens the mark, and makes it if it is missing. The log works without it, so an
// error costs only the mark.
func (m *markWriter) open(o *Options) {
	f, err := o.FS.Open(o.path(MarkFile), vfs.ReadWrite)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = o.FS.Open(o.path(MarkFile), vfs.Create)
	}
	if err == nil {
		m.file = f
	}
}

// write writes a mark with one call, and does not sync it. After an error it writes none
// any more.
func (m *markWriter) write(k mark, store [16]byte) {
	if m.file == nil {
		return
	}
	k.encode(&m.buf, store)
	if _, err := m.file.WriteAt(m.buf[:], 0); err != nil {
		m.close()
	}
}

func (m *markWriter) close() {
	if m.file != nil {
		m.file.Close()
		m.file = nil
	}
}
