package vfs

import (
	"container/list"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"
	"sync"
	"syscall"
)

// maxFileSize bounds the table of pages that a stray offset can make.
const maxFileSize = 64 << 30

// Mem is a disk in memory that keeps the package's rules and breaks everything
// that they do not promise. It knows what was synced, and makes, as often as one
// likes, the disks that a power cut may leave: see [Mem.Crash].
//
// Paths are taken from the root, so "a/b" and "/a/b" are the same; the root
// exists. Files are sparse. All methods are safe for concurrent use.
type Mem struct {
	mu       sync.RWMutex
	root     *node
	pending  list.List // of change, in the order of issue
	items    int       // in pending
	capacity int       // pages; negative: no limit
	used     int       // pages of the files that the live view can reach
	locked   map[*node]bool
	stamp    uint64 // of the image made last
}

// NewMem returns an empty disk without a limit.
func NewMem() *Mem {
	return &Mem{root: &node{dir: true}, capacity: -1}
}

// SetCapacity limits the disk to that many bytes, rounded down to pages of
// 4 KiB; negative is no limit. Pages count once they are written or allocated,
// holes do not. A limit below what is in use only refuses what comes.
func (m *Mem) SetCapacity(size int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity = -1
	if size >= 0 {
		m.capacity = int(size / pageSize)
	}
}

// Used returns the bytes in use, in pages of 4 KiB. A removed file counts until
// it is closed.
func (m *Mem) Used() int64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return int64(m.used) * pageSize
}

// free returns how many pages may still be taken.
func (m *Mem) free() int {
	if m.capacity < 0 {
		return maxFileSize / pageSize
	}
	return max(m.capacity-m.used, 0)
}

// Open implements FS.
func (m *Mem) Open(name string, mode Mode) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.open(name, mode)
	if err != nil {
		return nil, pathError("open", name, err)
	}
	n.handles++
	return &memFile{disk: m, node: n, name: name, mode: mode}, nil
}

func (m *Mem) open(name string, mode Mode) (*node, error) {
	if mode < ReadOnly || mode > Create {
		return nil, fs.ErrInvalid
	}
	at, err := m.place(name)
	if err != nil {
		return nil, err
	}
	n := at.dir.child(live, at.name)
	switch {
	case mode == Create && n != nil:
		return nil, syscall.EEXIST
	case mode == Create:
		return m.create(name, at, false), nil
	case n == nil:
		return nil, syscall.ENOENT
	case n.dir:
		return nil, syscall.EISDIR
	}
	return n, nil
}

// create makes a file or directory at a free place.
func (m *Mem) create(name string, at place, dir bool) *node {
	n := &node{dir: dir, path: name}
	m.queueRename(&rename{node: n, to: at})
	return n
}

// Mkdir implements FS.
func (m *Mem) Mkdir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, err := m.place(name)
	if err == nil && at.dir.child(live, at.name) != nil {
		err = syscall.EEXIST
	}
	if err != nil {
		return pathError("mkdir", name, err)
	}
	m.create(name, at, true)
	return nil
}

// Rename implements FS.
func (m *Mem) Rename(oldPath, newPath string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return pathError("rename", oldPath, m.rename(oldPath, newPath))
}

func (m *Mem) rename(oldPath, newPath string) error {
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

// Remove implements FS.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return pathError("remove", name, m.remove(name))
}

func (m *Mem) remove(name string) error {
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

// release frees the pages of a file that has neither name nor user.
func (m *Mem) release(n *node) {
	if n.faces[live].parent == nil && n.handles == 0 {
		m.used -= n.faces[live].content.used
		n.faces[live].content = content{}
	}
}

// List implements FS.
func (m *Mem) List(dir string) ([]Info, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	n, err := m.directory(dir)
	if err != nil {
		return nil, pathError("list", dir, err)
	}
	infos := make([]Info, len(n.faces[live].entries))
	for i, e := range n.faces[live].entries {
		infos[i] = e.node.info(e.name)
	}
	return infos, nil
}

func (n *node) info(name string) Info {
	return Info{Name: name, Size: n.faces[live].content.size, Dir: n.dir}
}

// Stat implements FS.
func (m *Mem) Stat(name string) (Info, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	n, err := m.lookup(name)
	if err != nil {
		return Info{}, pathError("stat", name, err)
	}
	return n.info(path.Base(name)), nil
}

// SyncDir implements FS. A rename between two directories is durable once both
// were synced.
func (m *Mem) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.directory(dir)
	if err != nil {
		return pathError("sync", dir, err)
	}
	m.syncEntries(n)
	return nil
}

// Lock implements FS. Locks are of the process, so no image of a crash has any.
func (m *Mem) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.open(name, ReadWrite)
	if errors.Is(err, syscall.ENOENT) {
		n, err = m.open(name, Create)
	}
	if err != nil {
		return nil, pathError("open", name, err)
	}
	if m.locked[n] {
		return nil, pathError("lock", name, &LockedError{Path: name, PID: syscall.Getpid()})
	}
	if m.locked == nil {
		m.locked = make(map[*node]bool)
	}
	m.locked[n] = true
	n.handles++
	return &memLock{disk: m, node: n, name: name}, nil
}

type memLock struct {
	disk   *Mem
	node   *node
	name   string
	closed bool
}

func (l *memLock) Close() error {
	l.disk.mu.Lock()
	defer l.disk.mu.Unlock()
	if l.closed {
		return pathError("close", l.name, fs.ErrClosed)
	}
	l.closed = true
	delete(l.disk.locked, l.node)
	l.disk.put(l.node)
	return nil
}

// put ends one use of a file.
func (m *Mem) put(n *node) {
	n.handles--
	m.release(n)
}

// lookup returns what has the path in the live view.
func (m *Mem) lookup(name string) (*node, error) {
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

func (m *Mem) directory(name string) (*node, error) {
	n, err := m.lookup(name)
	if err == nil && !n.dir {
		err = syscall.ENOTDIR
	}
	return n, err
}

// place returns the directory of a path, which must exist, and the last element.
func (m *Mem) place(name string) (place, error) {
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
