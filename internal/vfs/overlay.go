package vfs

import (
	"errors"
	"io"
	"io/fs"
	"math"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// Overlay returns a file system that shows base and writes nothing to it: what is written
// stays in memory and ends with the process. A store on a read-only file system is recovered
// on it. base must not change meanwhile. Lock takes the lock of base, if base can lock a file
// that it cannot write to; otherwise it takes none. Directories are not renamed or removed.
func Overlay(base FS) FS { return &overlay{base: base, files: make(map[string]*overlayFile)} }

type overlay struct {
	base FS

	mu    sync.Mutex
	files map[string]*overlayFile // by name, those opened so far; nil: there is none of that name
	dirs  []string                // made, and not in base
}

// overlayFile is the content of a file: pages that were written, before bytes of base.
type overlayFile struct {
	mu    sync.RWMutex
	base  Mapping // nil: there is none
	below int64   // bytes of base that still count
	size  int64
	pages map[int64]*[overlayPage]byte // by number
}

const overlayPage = 4096

// file returns the file of a name, and reads it from base if it was not opened before. The
// caller holds mu.
func (o *overlay) file(name string) (*overlayFile, error) {
	if f, ok := o.files[name]; ok {
		if f == nil {
			return nil, PathError("open", name, syscall.ENOENT)
		}
		return f, nil
	}
	b, err := o.base.Open(name, ReadOnly)
	if err != nil {
		return nil, err
	}
	defer func() { _ = b.Close() }() // nothing was written
	f := &overlayFile{}
	if f.size, err = b.Size(); err == nil && f.size > 0 {
		f.base, err = b.Map(f.size)
	}
	if err != nil {
		return nil, err
	}
	f.below = f.size
	o.files[name] = f
	return f, nil
}

func (o *overlay) Open(name string, mode Mode) (File, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f, err := o.file(name)
	switch {
	case mode == Create && err == nil:
		return nil, PathError("open", name, syscall.EEXIST)
	case mode == Create && errors.Is(err, fs.ErrNotExist):
		f = &overlayFile{}
		o.files[name] = f
	case err != nil:
		return nil, err
	}
	return &overlayHandle{overlay: o, file: f, name: name, readOnly: mode == ReadOnly}, nil
}

func (o *overlay) Mkdir(name string) error {
	if _, err := o.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		return PathError("mkdir", name, syscall.EEXIST)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dirs = append(o.dirs, path.Clean(name))
	return nil
}

func (o *overlay) Rename(from, to string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	f, err := o.file(from)
	if err != nil {
		return err
	}
	o.files[from], o.files[to] = nil, f
	return nil
}

func (o *overlay) Remove(name string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, err := o.file(name)
	if err == nil {
		o.files[name] = nil
	}
	return err
}

func (o *overlay) List(dir string) ([]Info, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	list, err := o.base.List(dir)
	if errors.Is(err, fs.ErrNotExist) && slices.Contains(o.dirs, path.Clean(dir)) {
		err = nil
	}
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(i Info) bool { _, ok := o.files[path.Join(dir, i.Name)]; return ok })
	for name, f := range o.files {
		if f != nil && path.Dir(name) == path.Clean(dir) {
			list = append(list, f.info(name))
		}
	}
	for _, name := range o.dirs {
		if path.Dir(name) == path.Clean(dir) {
			list = append(list, Info{Name: path.Base(name), Dir: true})
		}
	}
	slices.SortFunc(list, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

func (o *overlay) Stat(name string) (Info, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f, ok := o.files[name]
	switch {
	case ok && f == nil:
		return Info{}, PathError("stat", name, syscall.ENOENT)
	case ok:
		return f.info(name), nil
	case slices.Contains(o.dirs, path.Clean(name)):
		return Info{Name: path.Base(name), Dir: true}, nil
	}
	return o.base.Stat(name)
}

func (*overlay) OpenDir(string) (Dir, error) { return noDir{}, nil }

func (o *overlay) Lock(name string) (io.Closer, error) { return lockReadOnly(o.base, name) }

func (f *overlayFile) info(name string) Info {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return Info{Name: path.Base(name), Size: f.size}
}

// readAt reads bytes below the end of the file. The caller holds mu.
func (f *overlayFile) readAt(p []byte, off int64) error {
	for len(p) > 0 {
		n := min(int64(len(p)), overlayPage-off%overlayPage)
		if page := f.pages[off/overlayPage]; page != nil {
			copy(p[:n], page[off%overlayPage:])
		} else if err := f.readBase(p[:n], off); err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}

// readBase reads bytes of base, and zeros behind them.
func (f *overlayFile) readBase(p []byte, off int64) error {
	clear(p)
	n := min(int64(len(p)), f.below-off)
	if n <= 0 {
		return nil
	}
	_, err := f.base.ReadAt(p[:n], off)
	return err
}

// page returns a page that may be written to. The caller holds mu.
func (f *overlayFile) page(number int64) (*[overlayPage]byte, error) {
	page := f.pages[number]
	if page == nil {
		page = new([overlayPage]byte)
		if err := f.readBase(page[:], number*overlayPage); err != nil {
			return nil, err
		}
		if f.pages == nil {
			f.pages = make(map[int64]*[overlayPage]byte)
		}
		f.pages[number] = page
	}
	return page, nil
}

// truncate sets the length. New bytes are zero. The caller holds mu.
func (f *overlayFile) truncate(size int64) {
	if size < f.size {
		f.below = min(f.below, size)
		for number, page := range f.pages {
			if from := size - number*overlayPage; from < overlayPage {
				clear(page[max(from, 0):])
			}
		}
	}
	f.size = size
}

// overlayHandle is an open file of an Overlay, or a mapping of one.
type overlayHandle struct {
	overlay  *overlay
	file     *overlayFile
	name     string
	readOnly bool
	limit    int64 // of a mapping; 0: none

	mu     sync.Mutex
	closed bool
}

// use returns the reason why a call is not possible, or nil.
func (h *overlayHandle) use(op string, writes bool) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.closed:
		return PathError(op, h.name, fs.ErrClosed)
	case writes && h.readOnly:
		return PathError(op, h.name, syscall.EBADF)
	}
	return nil
}

func (h *overlayHandle) ReadAt(p []byte, off int64) (int, error) {
	err := h.use("read", false)
	if err == nil && off < 0 {
		err = PathError("read", h.name, fs.ErrInvalid)
	}
	if err != nil {
		return 0, err
	}
	f := h.file
	f.mu.RLock()
	defer f.mu.RUnlock()
	end := f.size
	if h.limit > 0 {
		end = h.limit
	}
	n := int(max(0, min(int64(len(p)), end-off)))
	if off+int64(n) > f.size && n > 0 {
		return 0, PathError("read mapping of", h.name, ErrFault)
	}
	if err := f.readAt(p[:n], off); err != nil {
		return 0, err
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *overlayHandle) WriteAt(p []byte, off int64) (int, error) {
	err := h.use("write", true)
	if err == nil && (off < 0 || off > math.MaxInt64-int64(len(p))) {
		err = PathError("write", h.name, fs.ErrInvalid)
	}
	if err != nil {
		return 0, err
	}
	f := h.file
	f.mu.Lock()
	defer f.mu.Unlock()
	done := 0
	for done < len(p) {
		at := off + int64(done)
		page, err := f.page(at / overlayPage)
		if err != nil {
			return done, err
		}
		done += copy(page[at%overlayPage:], p[done:])
	}
	if done > 0 {
		f.size = max(f.size, off+int64(done))
	}
	return done, nil
}

func (h *overlayHandle) Size() (int64, error) {
	if err := h.use("stat", false); err != nil {
		return 0, err
	}
	return h.file.info(h.name).Size, nil
}

func (h *overlayHandle) IsAt(name string) (bool, error) {
	if err := h.use("stat", false); err != nil {
		return false, err
	}
	h.overlay.mu.Lock()
	defer h.overlay.mu.Unlock()
	return h.overlay.files[name] == h.file, nil
}

func (h *overlayHandle) Truncate(size int64) error {
	err := h.use("truncate", true)
	if err == nil && size < 0 {
		err = PathError("truncate", h.name, fs.ErrInvalid)
	}
	if err != nil {
		return err
	}
	h.file.mu.Lock()
	defer h.file.mu.Unlock()
	h.file.truncate(size)
	return nil
}

func (h *overlayHandle) Allocate(off, n int64) error {
	err := h.use("allocate", true)
	if err == nil && !ValidRange(off, n) {
		err = PathError("allocate", h.name, fs.ErrInvalid)
	}
	if err != nil {
		return err
	}
	h.file.mu.Lock()
	defer h.file.mu.Unlock()
	h.file.size = max(h.file.size, off+n)
	return nil
}

func (h *overlayHandle) WriteBack(int64, int64, bool) error { return h.use("write back", false) }

func (h *overlayHandle) Sync() error { return h.use("sync", false) }

func (h *overlayHandle) Map(n int64) (Mapping, error) {
	err := h.use("map", false)
	if err == nil && n <= 0 {
		err = PathError("map", h.name, fs.ErrInvalid)
	}
	if err != nil {
		return nil, err
	}
	return &overlayHandle{overlay: h.overlay, file: h.file, name: h.name, readOnly: true, limit: n}, nil
}

func (h *overlayHandle) Close() error {
	if err := h.use("close", false); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	return nil
}
