package segment

import (
	"github.com/cespare/xxhash/v2"

	"kvd/internal/vfs"
)

// windowSize is the default size of a read, in bytes.
const windowSize = 1 << 20

// unreadableByte fills a window where the file could not be read. Any value but zero is
// possible; zeros would look like padding.
const unreadableByte = 0xff

// window reads a file in large pieces from front to back. It continues after pages that
// cannot be read: it records them, and fills them with a byte that no checksum accepts.
type window struct {
	file vfs.File
	end  int64 // bytes beyond it are not read
	size int   // bytes read at a time
	off  int64 // offset of buf in the file
	buf  []byte
	bad  []badPage
}

type badPage struct {
	off, end int64
	err      error
}

// at returns the n bytes at off, or fewer at the end of the file. They are valid until the
// next call. n must be at most size.
func (w *window) at(off int64, n int) []byte {
	n = int(max(0, min(int64(n), w.end-off)))
	if n == 0 {
		return nil
	}
	if off < w.off || off+int64(n) > w.off+int64(len(w.buf)) {
		w.fill(off)
	}
	return w.buf[off-w.off:][:n]
}

func (w *window) fill(off int64) {
	n := int(min(int64(w.size), w.end-off))
	if cap(w.buf) < n {
		w.buf = make([]byte, n)
	}
	w.off, w.buf = off, w.buf[:n]
	if _, err := w.file.ReadAt(w.buf, off); err != nil {
		w.fillPages()
	}
}

// fillPages reads the window page by page, so that only unreadable pages are lost.
func (w *window) fillPages() {
	for off, end := w.off, w.off+int64(len(w.buf)); off < end; {
		next := min(pageAlign(off+1), end)
		page := w.buf[off-w.off : next-w.off]
		if n, err := w.file.ReadAt(page, off); err != nil {
			w.bad = append(w.bad, badPage{off + int64(n), next, err})
			for i := range page[n:] {
				page[n+i] = unreadableByte
			}
		}
		off = next
	}
}

// cause returns the error of a page in [from, to) that could not be read, or nil.
func (w *window) cause(from, to int64) error {
	for _, p := range w.bad {
		if p.off < to && from < p.end {
			return p.err
		}
	}
	return nil
}

// sum returns the seeded xxhash64 of [from, to).
func (w *window) sum(seed Seed, from, to int64) uint64 {
	var d xxhash.Digest
	d.ResetWithSeed(uint64(seed))
	for from < to {
		b := w.at(from, int(min(int64(w.size), to-from)))
		_, _ = d.Write(b)
		from += int64(len(b))
	}
	return d.Sum64()
}

// zero reports whether every byte in [from, to), which has at most size bytes, is 0.
func (w *window) zero(from, to int64) bool {
	for _, c := range w.at(from, int(to-from)) {
		if c != 0 {
			return false
		}
	}
	return true
}
