package simdisk

import (
	"io"
	"io/fs"
	"syscall"

	"kvd/internal/vfs"
)

// openFile is an open file of a Disk.
type openFile struct {
	disk   *Disk
	node   *node
	name   string
	mode   vfs.Mode
	closed bool // guarded by disk.mu
}

// check returns the reason why an operation is not possible, or nil. The caller holds
// disk.mu.
func (f *openFile) check(writes bool) error {
	switch {
	case f.closed:
		return fs.ErrClosed
	case writes && f.mode == vfs.ReadOnly:
		return syscall.EBADF
	}
	return nil
}

// change calls do on the live content and keeps the count of the disk's pages.
func (f *openFile) change(op string, do func(c *content) error) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	err := f.check(true)
	if err == nil {
		c := &f.node.faces[live].content
		before := c.used
		err = do(c)
		f.disk.used += c.used - before
	}
	return vfs.PathError(op, f.name, err)
}

func (f *openFile) ReadAt(p []byte, off int64) (int, error) {
	f.disk.mu.RLock()
	defer f.disk.mu.RUnlock()
	err := f.check(false)
	if err == nil && off < 0 {
		err = fs.ErrInvalid
	}
	if err != nil {
		return 0, vfs.PathError("read", f.name, err)
	}
	c := &f.node.faces[live].content
	n := int(min(int64(len(p)), max(c.size-off, 0)))
	c.read(p[:n], off)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements vfs.File. On a full disk it writes the part that has room.
func (f *openFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.change("write", func(c *content) error {
		switch {
		case off < 0:
			return fs.ErrInvalid
		case len(p) == 0:
			return nil
		case off > maxFileSize-int64(len(p)):
			return syscall.EFBIG
		}
		if n = c.fitting(off, len(p), f.disk.free(), f.disk.copies); n > 0 {
			f.write(c, p[:n], off)
		}
		if n < len(p) {
			return syscall.ENOSPC
		}
		return nil
	})
	return n, err
}

func (f *openFile) write(c *content, p []byte, off int64) {
	c.write(p, off)
	end := off + int64(len(p))
	grown := end > c.size
	c.size = max(c.size, end)
	w := newWrite(f.node, c, off, int64(len(p)))
	if grown {
		w.size = end
	}
	f.disk.queueData(f.node, w)
}

func (f *openFile) Truncate(size int64) error {
	return f.change("truncate", func(c *content) error {
		switch {
		case size < 0:
			return fs.ErrInvalid
		case size > maxFileSize:
			return syscall.EFBIG
		case size == c.size:
			return nil
		}
		r := &resize{file: f.node, size: size}
		r.redo(c)
		f.disk.queueData(f.node, r)
		return nil
	})
}

func (f *openFile) Allocate(off, n int64) error {
	return f.change("allocate", func(c *content) error {
		switch {
		case !vfs.ValidRange(off, n):
			return fs.ErrInvalid
		case off+n > maxFileSize:
			return syscall.EFBIG
		}
		holes := c.holes(off, n)
		r := &resize{file: f.node, size: noSize, off: off, n: n}
		if off+n > c.size {
			r.size = off + n
		}
		switch {
		case holes > f.disk.free():
			return syscall.ENOSPC
		case holes == 0 && r.size == noSize:
			return nil
		}
		r.redo(c)
		f.disk.queueData(f.node, r)
		return nil
	})
}

// WriteBack promises nothing, so it changes nothing.
func (f *openFile) WriteBack(int64, int64, bool) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.check(false); err != nil {
		return vfs.PathError("write back", f.name, err)
	}
	return nil
}

func (f *openFile) Sync() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.check(false); err != nil {
		return vfs.PathError("sync", f.name, err)
	}
	f.disk.syncFile(f.node)
	return nil
}

// dropSync acts like a failed Sync: the dirty bytes become clean but not durable.
// [Fault] calls it.
func (f *openFile) dropSync() {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if f.check(false) == nil {
		f.disk.dropBytes(f.node)
	}
}

func (f *openFile) Size() (int64, error) {
	f.disk.mu.RLock()
	defer f.disk.mu.RUnlock()
	if err := f.check(false); err != nil {
		return 0, vfs.PathError("stat", f.name, err)
	}
	return f.node.faces[live].content.size, nil
}

// IsAt implements vfs.File.
func (f *openFile) IsAt(path string) (bool, error) {
	f.disk.mu.RLock()
	defer f.disk.mu.RUnlock()
	if err := f.check(false); err != nil {
		return false, vfs.PathError("stat", f.name, err)
	}
	at, err := f.disk.place(path)
	return err == nil && at.dir.child(live, at.name) == f.node, nil // no such path: it is not there
}

func (f *openFile) Map(n int64) (vfs.Mapping, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	err := f.check(false)
	if err == nil && n < 0 {
		err = fs.ErrInvalid
	}
	if err != nil {
		return nil, vfs.PathError("map", f.name, err)
	}
	f.node.handles++
	return &mapping{disk: f.disk, node: f.node, name: f.name, size: n}, nil
}

func (f *openFile) Close() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.check(false); err != nil {
		return vfs.PathError("close", f.name, err)
	}
	f.closed = true
	f.disk.put(f.node)
	return nil
}

// mapping is a view of a file of a Disk. It is stricter than a real mapping, which
// shows zeros between the end of a file and the end of its page.
type mapping struct {
	disk   *Disk
	node   *node
	name   string
	size   int64
	closed bool // guarded by disk.mu
}

func (v *mapping) ReadAt(p []byte, off int64) (int, error) {
	v.disk.mu.RLock()
	defer v.disk.mu.RUnlock()
	switch {
	case v.closed:
		return 0, vfs.PathError("read mapping of", v.name, fs.ErrClosed)
	case off < 0:
		return 0, vfs.PathError("read mapping of", v.name, fs.ErrInvalid)
	case len(p) == 0:
		return 0, nil
	case off >= v.size:
		return 0, io.EOF
	}
	c := &v.node.faces[live].content
	n := int(min(int64(len(p)), v.size-off))
	if off+int64(n) > c.size {
		return 0, vfs.PathError("read mapping of", v.name, vfs.ErrFault)
	}
	c.read(p[:n], off)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (v *mapping) Close() error {
	v.disk.mu.Lock()
	defer v.disk.mu.Unlock()
	if !v.closed {
		v.closed = true
		v.disk.put(v.node)
	}
	return nil
}
