package simdisk

import (
	"io/fs"
	"syscall"

	"kvd/internal/vfs"
)

// ReadFile returns the bytes of a file as processes see them. The caller owns the
// slice.
func (m *Disk) ReadFile(name string) ([]byte, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	n, err := m.file(name)
	if err != nil {
		return nil, vfs.PathError("read", name, err)
	}
	c := &n.faces[live].content
	b := make([]byte, c.size)
	c.read(b, 0)
	return b, nil
}

// WriteFile sets the content of a file and makes it durable at once: neither the
// bytes nor the name are pending. The directory must exist.
func (m *Disk) WriteFile(name string, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, err := m.place(name)
	if err != nil {
		return vfs.PathError("write", name, err)
	}
	n := at.dir.child(live, at.name)
	switch {
	case n == nil:
		n = m.create(name, at, false)
		m.commit(at.dir.pending[len(at.dir.pending)-1])
	case n.dir:
		return vfs.PathError("write", name, syscall.EISDIR)
	}
	m.syncFile(n)
	var c content
	c.write(data, 0)
	c.size = int64(len(data))
	m.used += c.used - n.faces[live].content.used
	n.faces[live].content, n.faces[durable].content = c.clone(), c.clone()
	return nil
}

// Corrupt calls f to change the bytes [off, off+n) of a file in place, on the disk
// and in the page cache, without a write. If the bytes on the disk and in the cache
// differ, f is called for each. The range must lie within the file. Pending items are
// not changed; they may overwrite the damage later.
func (m *Disk) Corrupt(name string, off, n int64, f func(b []byte)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	file, err := m.file(name)
	if err == nil && (!vfs.ValidRange(off, n) || off+n > file.faces[live].content.size) {
		err = fs.ErrInvalid
	}
	if err != nil {
		return vfs.PathError("corrupt", name, err)
	}
	b := make([]byte, n)
	for v := range views {
		c := &file.faces[v].content
		if off+n > c.size {
			continue
		}
		before := c.used
		c.read(b, off)
		f(b)
		c.write(b, off)
		if v == live {
			m.used += c.used - before
		}
	}
	return nil
}

func (m *Disk) file(name string) (*node, error) {
	n, err := m.lookup(name)
	if err == nil && n.dir {
		err = syscall.EISDIR
	}
	return n, err
}
