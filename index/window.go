package index

import (
	"unsafe"

	"kvd/internal/prefetch"
)

// window is the next few keys of a snapshot's walk. A key goes through it in three steps: its entry
// is prefetched, its version is found and the row prefetched, and it is shown. Each step is some keys
// behind the one before, so that memory delivers what the next keys need while one is shown. A walk
// that went from key to key would wait for memory twice a key.
type window struct {
	snapshot            *Snapshot
	show                func(ref, row, kept uint32) bool
	added, found, shown uint // keys
	refs, rows, kept    [windowKeys]uint32
}

// Steps begin a few keys behind one another, because many walks end after a few keys, and get to be
// lagMost behind.
const (
	windowKeys = 64 // more than two steps are behind, and a power of two
	lagLeast   = 4
	lagMost    = 16
)

// each calls fn for every key from from on in ascending order, until it returns false,
// with the newest row that the snapshot sees and the number of versions kept from there
// on.
func (s *Snapshot) each(from string, fn func(ref, row, kept uint32) bool) {
	s.walk(func(fn func([]uint32) bool) { ascend(s.leaves, &s.x.keys, from, fn) }, fn)
}

// walk calls fn as each does, for the keys that keys shows.
func (s *Snapshot) walk(keys func(func(refs []uint32) bool), fn func(ref, row, kept uint32) bool) {
	w := window{snapshot: s, show: fn}
	more := true
	keys(func(refs []uint32) bool {
		for _, ref := range refs {
			w.add(ref)
			lag := min(lagLeast+w.added/4, lagMost)
			if more = w.advance(lag); !more {
				return false
			}
		}
		return true
	})
	if more {
		w.advance(0)
	}
}

// add begins with another key.
func (w *window) add(ref uint32) {
	w.refs[w.added%windowKeys] = ref
	w.snapshot.x.keys.prefetch(ref)
	w.added++
}

// advance takes the steps of the keys that are lag behind, until show returns false.
func (w *window) advance(lag uint) bool {
	for ; w.found+lag < w.added; w.found++ {
		i := w.found % windowKeys
		w.rows[i], w.kept[i] = w.snapshot.chain(w.refs[i])
		w.snapshot.x.rows.prefetch(w.rows[i])
	}
	for ; w.shown+lag < w.found; w.shown++ {
		i := w.shown % windowKeys
		if !w.show(w.refs[i], w.rows[i], w.kept[i]) {
			return false
		}
	}
	return true
}

func (r *rows) prefetch(id uint32) { prefetch.Lines(unsafe.Pointer(r.pages.at(id)), 1) }

// prefetch fetches the first three units of an entry: all of it if the key has up to 18 bytes. They
// are in two lines if it begins in one of the last two units of a line.
func (a *arena) prefetch(ref uint32) {
	const units = prefetch.LineSize / unitSize
	lines := 1
	if ref%units >= units-2 {
		lines = 2
	}
	prefetch.Lines(a.unit(ref), lines)
}
