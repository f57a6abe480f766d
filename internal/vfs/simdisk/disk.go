package simdisk

import (
	"container/list"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"
	"syscall"

	"kvd/internal/vfs"
)

// maxFileSize bounds the table of pages when an offset is much too large.
const maxFileSize = 64 << 30

// Disk is a disk in memory that follows the rules of package vfs and breaks
// everything that they do not promise. It records what was synced. [Disk.Crash]
// makes the disks that a power cut may leave, any number of times.
//
// Paths are taken from the root, so "a/b" and "/a/b" are the same; the root
// exists. Files are sparse. All methods are safe for concurrent use.
type Disk struct {
	mu       sync.RWMutex
	root     *node
	pending  list.List // pending changes, in the order of issue
	items    int       // in pending
	capacity int       // pages; negative: no limit
	copies   bool      // what is overwritten needs free pages too
	used     int       // pages of the files that can be reached in the live view
	locked   map[*node]bool
	stamp    uint64 // stamp of the newest image
}

// New returns an empty disk without a limit.
func New() *Disk {
	return &Disk{root: &node{dir: true}, capacity: -1}
}

// SetCapacity limits the disk to that many bytes, rounded down to pages of 4 KiB. A
// negative capacity means no limit. A page counts once it is written or allocated; a
// hole does not count. A limit below the pages in use only refuses new pages.
func (m *Disk) SetCapacity(size int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity = -1
	if size >= 0 {
		m.capacity = int(size / pageSize)
	}
}

// SetCopyOnWrite makes the disk that of a file system which copies what is overwritten: each
// page that a write touches, also one that was written or allocated before, needs a free page
// at that moment. Without it kvd's rule holds that such pages can be overwritten on a full
// disk.
func (m *Disk) SetCopyOnWrite(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.copies = on
}

// Used returns the bytes in use, in pages of 4 KiB. A removed file counts until
// it is closed.
func (m *Disk) Used() int64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return int64(m.used) * pageSize
}

// free returns how many more pages may be used.
func (m *Disk) free() int {
	if m.capacity < 0 {
		return maxFileSize / pageSize
	}
	return max(m.capacity-m.used, 0)
}

// Open implements vfs.FS.
func (m *Disk) Open(name string, mode vfs.Mode) (vfs.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.open(name, mode)
	if err != nil {
		return nil, vfs.PathError("open", name, err)
	}
	n.handles++
	return &openFile{disk: m, node: n, name: name, mode: mode}, nil
}

func (m *Disk) open(name string, mode vfs.Mode) (*node, error) {
	if mode < vfs.ReadOnly || mode > vfs.Create {
		return nil, fs.ErrInvalid
	}
	at, err := m.place(name)
	if err != nil {
		return nil, err
	}
	n := at.dir.child(live, at.name)
	switch {
	case mode == vfs.Create && n != nil:
		return nil, syscall.EEXIST
	case mode == vfs.Create:
		return m.create(name, at, false), nil
	case n == nil:
		return nil, syscall.ENOENT
	case n.dir:
		return nil, syscall.EISDIR
	}
	return n, nil
}

// create makes a file or directory at a place that is not taken.
func (m *Disk) create(name string, at place, dir bool) *node {
	n := &node{dir: dir, path: name}
	m.queueRename(&rename{node: n, to: at})
	return n
}

// Mkdir implements vfs.FS.
func (m *Disk) Mkdir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, err := m.place(name)
	if err == nil && at.dir.child(live, at.name) != nil {
		err = syscall.EEXIST
	}
	if err != nil {
		return vfs.PathError("mkdir", name, err)
	}
	m.create(name, at, true)
	return nil
}

// Rename implements vfs.FS.
func (m *Disk) Rename(oldPath, newPath string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return vfs.PathError("rename", oldPath, m.rename(oldPath, newPath))
}

func (m *Disk) rename(oldPath, newPath string) error {
	from, err := m.place(oldPath)
	if err != nil {
		return err
	}
	to, err := m.place(newPath)
	if err != nil {
		return err
	}
	n := from.dir.child(live, from.name)
	if n == nil {
		return syscall.ENOENT
	}
	target := to.dir.child(live, to.name)
	switch {
	case target != nil && target.dir:
		return syscall.EEXIST
	case target == n:
		return nil
	case n.dir && to.dir.within(n):
		return syscall.EINVAL
	case n.dir && target != nil:
		return syscall.ENOTDIR
	}
	m.queueRename(&rename{node: n, from: from, to: to})
	n.path = newPath
	if target != nil {
		m.release(target)
	}
	return nil
}

// within reports whether directory n is dir or below it.
func (n *node) within(dir *node) bool {
	for ; n != nil; n = n.faces[live].parent {
		if n == dir {
			return true
		}
	}
	return false
}

// Remove implements vfs.FS.
func (m *Disk) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return vfs.PathError("remove", name, m.remove(name))
}

func (m *Disk) remove(name string) error {
	from, err := m.place(name)
	if err != nil {
		return err
	}
	n := from.dir.child(live, from.name)
	switch {
	case n == nil:
		return syscall.ENOENT
	case len(n.faces[live].entries) > 0:
		return syscall.ENOTEMPTY
	}
	m.queueRename(&rename{node: n, from: from})
	m.release(n)
	return nil
}

// release frees the pages of a file that has no name and no user.
func (m *Disk) release(n *node) {
	if n.faces[live].parent == nil && n.handles == 0 {
		m.used -= n.faces[live].content.used
		n.faces[live].content = content{}
	}
}

// List implements vfs.FS.
func (m *Disk) List(dir string) ([]vfs.Info, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	n, err := m.directory(dir)
	if err != nil {
		return nil, vfs.PathError("list", dir, err)
	}
	infos := make([]vfs.Info, len(n.faces[live].entries))
	for i, e := range n.faces[live].entries {
		infos[i] = e.node.info(e.name)
	}
	return infos, nil
}

func (n *node) info(name string) vfs.Info {
	return vfs.Info{Name: name, Size: n.faces[live].content.size, Dir: n.dir}
}

// Stat implements vfs.FS.
func (m *Disk) Stat(name string) (vfs.Info, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	n, err := m.lookup(name)
	if err != nil {
		return vfs.Info{}, vfs.PathError("stat", name, err)
	}
	return n.info(path.Base(name)), nil
}

// OpenDir implements vfs.FS.
func (m *Disk) OpenDir(dir string) (vfs.Dir, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.directory(dir)
	if err != nil {
		return nil, vfs.PathError("open", dir, err)
	}
	return &openDir{disk: m, node: n, name: dir}, nil
}

// openDir is an open directory. A rename between two directories is durable once both were
// synced.
type openDir struct {
	disk   *Disk
	node   *node
	name   string
	closed bool
}

func (d *openDir) Sync() error {
	d.disk.mu.Lock()
	defer d.disk.mu.Unlock()
	if d.closed {
		return vfs.PathError("sync", d.name, fs.ErrClosed)
	}
	d.disk.syncEntries(d.node)
	return nil
}

func (d *openDir) Close() error {
	d.disk.mu.Lock()
	defer d.disk.mu.Unlock()
	if d.closed {
		return vfs.PathError("close", d.name, fs.ErrClosed)
	}
	d.closed = true
	return nil
}

// Lock implements vfs.FS. Locks belong to the process: an image of a crash has none.
func (m *Disk) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.open(name, vfs.ReadWrite)
	if errors.Is(err, syscall.ENOENT) {
		n, err = m.open(name, vfs.Create)
	}
	if err != nil {
		return nil, vfs.PathError("open", name, err)
	}
	if m.locked[n] {
		return nil, vfs.PathError("lock", name, &vfs.LockedError{Path: name, PID: syscall.Getpid()})
	}
	if m.locked == nil {
		m.locked = make(map[*node]bool)
	}
	m.locked[n] = true
	n.handles++
	return &diskLock{disk: m, node: n, name: name}, nil
}

type diskLock struct {
	disk   *Disk
	node   *node
	name   string
	closed bool
}

func (l *diskLock) Close() error {
	l.disk.mu.Lock()
	defer l.disk.mu.Unlock()
	if l.closed {
		return vfs.PathError("close", l.name, fs.ErrClosed)
	}
	l.closed = true
	delete(l.disk.locked, l.node)
	l.disk.put(l.node)
	return nil
}

// put ends one use of a file.
func (m *Disk) put(n *node) {
	n.handles--
	m.release(n)
}

// lookup returns the node at a path in the live view.
func (m *Disk) lookup(name string) (*node, error) {
	if name == "" {
		return nil, syscall.ENOENT
	}
	n := m.root
	rest := path.Clean("/" + name)[1:]
	for rest != "" {
		if !n.dir {
			return nil, syscall.ENOTDIR
		}
		var element string
		element, rest, _ = strings.Cut(rest, "/")
		if n = n.child(live, element); n == nil {
			return nil, syscall.ENOENT
		}
	}
	return n, nil
}

func (m *Disk) directory(name string) (*node, error) {
	n, err := m.lookup(name)
	if err == nil && !n.dir {
		err = syscall.ENOTDIR
	}
	return n, err
}

// place returns the directory of a path, which must exist, and the path's last element.
func (m *Disk) place(name string) (place, error) {
	clean := path.Clean("/" + name)
	if name == "" {
		return place{}, syscall.ENOENT
	}
	if clean == "/" {
		return place{}, syscall.EEXIST
	}
	dir, err := m.directory(path.Dir(clean))
	return place{dir, path.Base(clean)}, err
}
