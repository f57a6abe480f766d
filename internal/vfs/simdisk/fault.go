package simdisk

import (
	"errors"
	"fmt"
	"io"
	"sync"

	"kvd/internal/vfs"
)

// ErrStopped is returned by every call of a [Fault] that was stopped.
var ErrStopped = errors.New("stopped by fault injection")

// Fault is a file system that counts every call and passes it on to another file
// system. It fails those calls that a test selects. Close is neither counted nor
// failed. All methods are safe for concurrent use.
type Fault struct {
	inner vfs.FS
	mu    struct { // guards the fields inside
		sync.Mutex
		calls   int64
		stopped bool
		inject  func(Op) Action
	}
}

// NewFault returns a Fault that fails nothing yet.
func NewFault(inner vfs.FS) *Fault { return &Fault{inner: inner} }

// Op describes a call that is about to be made.
type Op struct {
	N      int64 // number of the call, from 1
	Kind   OpKind
	Path   string // of a rename: the old path
	Offset int64  // of a read, write or allocation; the size of a truncation
	Len    int    // bytes of a read, write, allocation or mapping
}

// Action says what happens to a call. The zero Action passes it on.
type Action struct {
	// Err fails the call. The call does nothing, unless Short or DropSync is set.
	Err error
	// Short is how many bytes of a failed write reach the file. A negative count
	// means none.
	Short int
	// DropSync makes a failed Sync of a file of a Disk behave like a real one: the
	// dirty bytes become clean without being durable. They can be read until the
	// power is cut, and no later Sync makes them durable.
	DropSync bool
	// Stop makes this call and every later one return ErrStopped and change nothing.
	// This is the moment for Disk.Crash.
	Stop bool
}

// Calls returns the number of calls so far.
func (f *Fault) Calls() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.mu.calls
}

// Inject sets the function that decides about every later call; nil passes all calls
// on. Inject also undoes a stop. decide is called for one call at a time and must not
// call f.
func (f *Fault) Inject(decide func(Op) Action) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.inject, f.mu.stopped = decide, false
}

// FailNth fails call n, counted from 1.
func FailNth(n int64, err error) func(Op) Action {
	return failIf(err, func(op Op) bool { return op.N == n })
}

// FailFrom fails call n, counted from 1, and every later call.
func FailFrom(n int64, err error) func(Op) Action {
	return failIf(err, func(op Op) bool { return op.N >= n })
}

// FailKind fails every call of one kind.
func FailKind(kind OpKind, err error) func(Op) Action {
	return failIf(err, func(op Op) bool { return op.Kind == kind })
}

func failIf(err error, fails func(Op) bool) func(Op) Action {
	return func(op Op) Action {
		if fails(op) {
			return Action{Err: err}
		}
		return Action{}
	}
}

// StopAt stops the file system at call n, counted from 1: it is the first call that
// does nothing.
func StopAt(n int64) func(Op) Action {
	return func(op Op) Action { return Action{Stop: op.N >= n} }
}

// decide counts a call and returns the action for it. If the call fails, Err has the
// form of the system's errors.
func (f *Fault) decide(op Op) Action {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.mu.calls++
	op.N = f.mu.calls
	var a Action
	if f.mu.inject != nil && !f.mu.stopped {
		a = f.mu.inject(op)
	}
	if f.mu.stopped = f.mu.stopped || a.Stop; f.mu.stopped {
		a = Action{Err: ErrStopped}
	}
	a.Err = vfs.PathError(op.Kind.String(), op.Path, a.Err)
	return a
}

// Open implements vfs.FS.
func (f *Fault) Open(path string, mode vfs.Mode) (vfs.File, error) {
	if a := f.decide(Op{Kind: OpOpen, Path: path}); a.Err != nil {
		return nil, a.Err
	}
	file, err := f.inner.Open(path, mode)
	if err != nil {
		return nil, err
	}
	return &faultFile{fault: f, inner: file, path: path}, nil
}

// Mkdir implements vfs.FS.
func (f *Fault) Mkdir(path string) error {
	if a := f.decide(Op{Kind: OpMkdir, Path: path}); a.Err != nil {
		return a.Err
	}
	return f.inner.Mkdir(path)
}

// Rename implements vfs.FS.
func (f *Fault) Rename(oldPath, newPath string) error {
	if a := f.decide(Op{Kind: OpRename, Path: oldPath}); a.Err != nil {
		return a.Err
	}
	return f.inner.Rename(oldPath, newPath)
}

// Remove implements vfs.FS.
func (f *Fault) Remove(path string) error {
	if a := f.decide(Op{Kind: OpRemove, Path: path}); a.Err != nil {
		return a.Err
	}
	return f.inner.Remove(path)
}

// List implements vfs.FS.
func (f *Fault) List(dir string) ([]vfs.Info, error) {
	if a := f.decide(Op{Kind: OpList, Path: dir}); a.Err != nil {
		return nil, a.Err
	}
	return f.inner.List(dir)
}

// Stat implements vfs.FS.
func (f *Fault) Stat(path string) (vfs.Info, error) {
	if a := f.decide(Op{Kind: OpStat, Path: path}); a.Err != nil {
		return vfs.Info{}, a.Err
	}
	return f.inner.Stat(path)
}

// OpenDir implements vfs.FS.
func (f *Fault) OpenDir(dir string) (vfs.Dir, error) {
	if a := f.decide(Op{Kind: OpOpenDir, Path: dir}); a.Err != nil {
		return nil, a.Err
	}
	d, err := f.inner.OpenDir(dir)
	if err != nil {
		return nil, err
	}
	return &faultDir{Dir: d, fault: f, path: dir}, nil
}

type faultDir struct {
	vfs.Dir
	fault *Fault
	path  string
}

func (d *faultDir) Sync() error {
	if a := d.fault.decide(Op{Kind: OpSyncDir, Path: d.path}); a.Err != nil {
		return a.Err
	}
	return d.Dir.Sync()
}

// Lock implements vfs.FS.
func (f *Fault) Lock(path string) (io.Closer, error) {
	if a := f.decide(Op{Kind: OpLock, Path: path}); a.Err != nil {
		return nil, a.Err
	}
	return f.inner.Lock(path)
}

type faultFile struct {
	fault *Fault
	inner vfs.File
	path  string
}

func (f *faultFile) ReadAt(p []byte, off int64) (int, error) {
	if a := f.fault.decide(Op{Kind: OpReadAt, Path: f.path, Offset: off, Len: len(p)}); a.Err != nil {
		return 0, a.Err
	}
	return f.inner.ReadAt(p, off)
}

func (f *faultFile) WriteAt(p []byte, off int64) (int, error) {
	a := f.fault.decide(Op{Kind: OpWriteAt, Path: f.path, Offset: off, Len: len(p)})
	if a.Err == nil {
		return f.inner.WriteAt(p, off)
	}
	short := min(max(a.Short, 0), len(p))
	if short == 0 {
		return 0, a.Err
	}
	n, err := f.inner.WriteAt(p[:short], off)
	if err != nil {
		return n, err
	}
	return n, a.Err
}

func (f *faultFile) Truncate(size int64) error {
	if a := f.fault.decide(Op{Kind: OpTruncate, Path: f.path, Offset: size}); a.Err != nil {
		return a.Err
	}
	return f.inner.Truncate(size)
}

func (f *faultFile) Allocate(off, n int64) error {
	if a := f.fault.decide(Op{Kind: OpAllocate, Path: f.path, Offset: off, Len: int(n)}); a.Err != nil {
		return a.Err
	}
	return f.inner.Allocate(off, n)
}

func (f *faultFile) WriteBack(off, n int64, wait bool) error {
	if a := f.fault.decide(Op{Kind: OpWriteBack, Path: f.path, Offset: off, Len: int(n)}); a.Err != nil {
		return a.Err
	}
	return f.inner.WriteBack(off, n, wait)
}

func (f *faultFile) Sync() error {
	a := f.fault.decide(Op{Kind: OpSync, Path: f.path})
	if a.Err == nil {
		return f.inner.Sync()
	}
	if mem, ok := f.inner.(*openFile); ok && a.DropSync {
		mem.dropSync()
	}
	return a.Err
}

func (f *faultFile) Size() (int64, error) {
	if a := f.fault.decide(Op{Kind: OpSize, Path: f.path}); a.Err != nil {
		return 0, a.Err
	}
	return f.inner.Size()
}

// IsAt is not a call that can fail or that counts: the engine makes it by the time that has
// passed.
func (f *faultFile) IsAt(path string) (bool, error) { return f.inner.IsAt(path) }

func (f *faultFile) Map(n int64) (vfs.Mapping, error) {
	if a := f.fault.decide(Op{Kind: OpMap, Path: f.path, Len: int(n)}); a.Err != nil {
		return nil, a.Err
	}
	m, err := f.inner.Map(n)
	if err != nil {
		return nil, err
	}
	return &faultMapping{fault: f.fault, inner: m, path: f.path}, nil
}

func (f *faultFile) Close() error { return f.inner.Close() }

type faultMapping struct {
	fault *Fault
	inner vfs.Mapping
	path  string
}

func (m *faultMapping) ReadAt(p []byte, off int64) (int, error) {
	if a := m.fault.decide(Op{Kind: OpReadMapping, Path: m.path, Offset: off, Len: len(p)}); a.Err != nil {
		return 0, a.Err
	}
	return m.inner.ReadAt(p, off)
}

func (m *faultMapping) Close() error { return m.inner.Close() }

// OpKind is the kind of an [Op].
type OpKind uint8

// The kinds of calls.
const (
	OpOpen OpKind = iota + 1
	OpMkdir
	OpRename
	OpRemove
	OpList
	OpStat
	OpOpenDir
	OpSyncDir
	OpLock
	OpReadAt
	OpWriteAt
	OpTruncate
	OpAllocate
	OpSync
	OpSize
	OpMap
	OpReadMapping
	OpWriteBack
)

// String returns the name of the call in an error.
func (k OpKind) String() string {
	names := [...]string{"", "open", "mkdir", "rename", "remove", "list", "stat", "open directory", "sync directory", "lock",
		"read", "write", "truncate", "allocate", "sync", "stat", "map", "read mapping of", "write back"}
	if k == 0 || int(k) >= len(names) {
		return fmt.Sprintf("OpKind(%d)", uint8(k))
	}
	return names[k]
}
