package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// NewRAM returns a file system in memory, for files that are meant to end with the
// process. It promises nothing about crashes; tests of crashes use package simdisk.
// Syncs do nothing. A file needs no directory: its path is a name. Mkdir makes names
// that Stat and List show as directories; Rename takes files alone.
//
// A file is a list of extents, one for each time that it grew, so growing copies
// nothing. ReadAt of a file and WriteAt exclude each other: as with a real file, a reader
// may ask for bytes that are being written. Reads of a mapping take no lock, so their
// caller must know that the bytes are written.
// The memory of a file is free once its name, its handles and its mappings are
// gone.
func NewRAM() FS {
	return &ram{files: make(map[string]*ramFile), dirs: make(map[string]bool), locks: make(map[string]bool)}
}

type ram struct {
	mu    sync.Mutex
	files map[string]*ramFile
	dirs  map[string]bool // by cleaned path
	locks map[string]bool // held
}

// ramFile is the content of a file.
type ramFile struct {
	name    string
	content sync.RWMutex // guards the bytes against ReadAt and WriteAt at the same time
	grow    sync.Mutex   // must be locked to change extents
	extents atomic.Pointer[[]extent]
}

// extent is a contiguous part of a file's bytes.
type extent struct {
	offset int64
	b      []byte
}

func (r *ram) Open(name string, mode Mode) (File, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.files[name]
	switch {
	case mode == Create && f != nil:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrExist}
	case mode == Create:
		f = &ramFile{name: name}
		f.extents.Store(new([]extent))
		r.files[name] = f
	case f == nil:
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	h := &ramHandle{ram: r, readOnly: mode == ReadOnly}
	h.file.Store(f)
	return h, nil
}

func (r *ram) Remove(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch dir := path.Clean(name); {
	case r.files[name] != nil:
		delete(r.files, name)
	case !r.dirs[dir]:
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	case len(r.listLocked(dir)) > 0:
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrInvalid}
	default:
		delete(r.dirs, dir)
	}
	return nil
}

func (r *ram) List(dir string) ([]Info, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.listLocked(path.Clean(dir)), nil
}

func (r *ram) listLocked(dir string) (list []Info) {
	for name, f := range r.files {
		if path.Dir(name) == dir {
			list = append(list, Info{Name: path.Base(name), Size: f.size()})
		}
	}
	for name := range r.dirs {
		if path.Dir(name) == dir && name != dir {
			list = append(list, Info{Name: path.Base(name), Dir: true})
		}
	}
	slices.SortFunc(list, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	return list
}

func (r *ram) Stat(name string) (Info, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.files[name]
	if f == nil && r.dirs[path.Clean(name)] {
		return Info{Name: path.Base(name), Dir: true}, nil
	}
	if f == nil {
		return Info{}, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	return Info{Name: path.Base(name), Size: f.size()}, nil
}

func (*ram) OpenDir(string) (Dir, error) { return noDir{}, nil }

// noDir stands for a directory whose entries are never durable.
type noDir struct{}

func (noDir) Sync() error  { return nil }
func (noDir) Close() error { return nil }

func (r *ram) Mkdir(name string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	dir := path.Clean(name)
	if r.dirs[dir] || r.files[name] != nil {
		return &fs.PathError{Op: "mkdir", Path: name, Err: fs.ErrExist}
	}
	r.dirs[dir] = true
	return nil
}

func (r *ram) Rename(from, to string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.files[from]
	switch {
	case f == nil && r.dirs[path.Clean(from)]:
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrInvalid}
	case f == nil:
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	case r.dirs[path.Clean(to)]:
		return &fs.PathError{Op: "rename", Path: to, Err: fs.ErrExist}
	}
	delete(r.files, from)
	r.files[to] = f
	return nil
}

func (r *ram) Lock(name string) (io.Closer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.locks[name] {
		return nil, &LockedError{Path: name, PID: os.Getpid()}
	}
	r.locks[name] = true
	return &ramLock{ram: r, name: name}, nil
}

// ramLock is a lock that is held until Close.
type ramLock struct {
	ram    *ram
	name   string
	closed bool // guarded by ram.mu
}

func (l *ramLock) Close() error {
	l.ram.mu.Lock()
	defer l.ram.mu.Unlock()
	if l.closed {
		return &fs.PathError{Op: "close", Path: l.name, Err: fs.ErrClosed}
	}
	l.closed = true
	delete(l.ram.locks, l.name)
	return nil
}

func (f *ramFile) size() int64 {
	extents := *f.extents.Load()
	if len(extents) == 0 {
		return 0
	}
	last := &extents[len(extents)-1]
	return last.offset + int64(len(last.b))
}

// resize makes the file longer by an extent, or cuts it.
func (f *ramFile) resize(size int64) {
	f.grow.Lock()
	defer f.grow.Unlock()
	extents := *f.extents.Load()
	have := f.size()
	if size > have {
		extents = append(slices.Clip(extents), extent{have, make([]byte, size-have)})
		f.extents.Store(&extents)
		return
	}
	n := find(extents, size)
	cut := slices.Clone(extents[:min(n+1, len(extents))])
	if len(cut) > 0 {
		// A copy, so that the bytes cut off read as zeros if the file grows again.
		last := &cut[len(cut)-1]
		last.b = slices.Clone(last.b[:size-last.offset])
	}
	f.extents.Store(&cut)
}

// find returns the index of the extent that has the byte at offset, or of the last
// extent for an offset beyond the end.
func find(extents []extent, offset int64) int {
	n, _ := slices.BinarySearchFunc(extents, offset, func(e extent, offset int64) int {
		if e.offset <= offset {
			return -1
		}
		return 1
	})
	return max(0, n-1)
}

// each calls fn for the existing pieces of [off, off+n), in order, and returns the
// number of bytes in them.
func (f *ramFile) each(off int64, n int, fn func(at int, b []byte)) (done int) {
	extents := *f.extents.Load()
	for i := find(extents, off); i < len(extents) && done < n; i++ {
		e := &extents[i]
		from := off + int64(done) - e.offset
		if from >= int64(len(e.b)) {
			continue
		}
		piece := e.b[from:min(int64(len(e.b)), from+int64(n-done))]
		fn(done, piece)
		done += len(piece)
	}
	return done
}

func (f *ramFile) readAt(p []byte, off int64) (int, error) {
	n := f.each(off, len(p), func(at int, b []byte) { copy(p[at:], b) })
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// ramHandle is an open file or a mapping of one.
type ramHandle struct {
	ram      *ram
	file     atomic.Pointer[ramFile] // nil once closed
	readOnly bool
	limit    int64 // of a mapping; 0: none
}

// use returns the file of the handle.
func (h *ramHandle) use(op string) (*ramFile, error) {
	f := h.file.Load()
	if f == nil {
		return nil, &fs.PathError{Op: op, Err: fs.ErrClosed}
	}
	return f, nil
}

func (h *ramHandle) ReadAt(p []byte, off int64) (int, error) {
	f, err := h.use("read")
	if err != nil {
		return 0, err
	}
	if h.limit == 0 {
		f.content.RLock()
		defer f.content.RUnlock()
		return f.readAt(p, off)
	}
	n := int(max(0, min(int64(len(p)), h.limit-off)))
	if got := f.each(off, n, func(at int, b []byte) { copy(p[at:], b) }); got < n {
		return got, fmt.Errorf("read %s at offset %d: %w", f.name, off+int64(got), ErrFault)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *ramHandle) WriteAt(p []byte, off int64) (int, error) {
	f, err := h.use("write")
	if err != nil {
		return 0, err
	}
	if h.readOnly || off < 0 {
		return 0, &fs.PathError{Op: "write", Path: f.name, Err: fs.ErrInvalid}
	}
	if end := off + int64(len(p)); end > f.size() {
		f.resize(end)
	}
	f.content.Lock()
	defer f.content.Unlock()
	return f.each(off, len(p), func(at int, b []byte) { copy(b, p[at:]) }), nil
}

func (h *ramHandle) Size() (int64, error) {
	f, err := h.use("size")
	if err != nil {
		return 0, err
	}
	return f.size(), nil
}

func (h *ramHandle) IsAt(path string) (bool, error) {
	f, err := h.use("stat")
	if err != nil {
		return false, err
	}
	h.ram.mu.Lock()
	defer h.ram.mu.Unlock()
	return h.ram.files[path] == f, nil
}

func (h *ramHandle) Truncate(size int64) error {
	f, err := h.use("truncate")
	if err != nil {
		return err
	}
	if h.readOnly || size < 0 {
		return &fs.PathError{Op: "truncate", Path: f.name, Err: fs.ErrInvalid}
	}
	if size != f.size() {
		f.resize(size)
	}
	return nil
}

func (h *ramHandle) Allocate(off, n int64) error {
	f, err := h.use("allocate")
	if err != nil {
		return err
	}
	if h.readOnly || off < 0 || n <= 0 || off > math.MaxInt64-n {
		return &fs.PathError{Op: "allocate", Path: f.name, Err: fs.ErrInvalid}
	}
	if off+n > f.size() {
		f.resize(off + n)
	}
	return nil
}

func (h *ramHandle) WriteBack(int64, int64, bool) error {
	_, err := h.use("write back")
	return err
}

func (h *ramHandle) Sync() error {
	_, err := h.use("sync")
	return err
}

func (h *ramHandle) Map(n int64) (Mapping, error) {
	f, err := h.use("map")
	if err != nil {
		return nil, err
	}
	if n <= 0 {
		return nil, &fs.PathError{Op: "map", Path: f.name, Err: fs.ErrInvalid}
	}
	m := &ramHandle{ram: h.ram, readOnly: true, limit: n}
	m.file.Store(f)
	return m, nil
}

func (h *ramHandle) Close() error {
	if h.file.Swap(nil) == nil {
		return &fs.PathError{Op: "close", Err: fs.ErrClosed}
	}
	return nil
}
