//go:build linux || darwin || freebsd

package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"unsafe"

	"github.com/edsrzf/mmap-go"
	"golang.org/x/sys/unix"

	"kvd/internal/prefetch"
)

// OS returns the operating system's files. Sync is fdatasync on Linux and
// F_FULLFSYNC on Darwin. The last element of a path is never followed if it is
// a symbolic link, and only regular files are opened.
func OS() FS { return osFS{} }

type osFS struct{}

func (osFS) Open(path string, mode Mode) (File, error) {
	// O_NONBLOCK, so that opening a FIFO in the directory is an error and does not
	// block. Regular files ignore the flag.
	flag := unix.O_NOFOLLOW | unix.O_NONBLOCK // package os adds O_CLOEXEC
	switch mode {
	case ReadOnly:
		flag |= os.O_RDONLY
	case ReadWrite:
		flag |= os.O_RDWR
	case Create:
		flag |= os.O_RDWR | os.O_CREATE | os.O_EXCL
	default:
		return nil, PathError("open", path, fs.ErrInvalid)
	}
	f, err := os.OpenFile(path, flag, 0o600)
	if err != nil {
		return nil, mark(err)
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case info.IsDir():
		err = PathError("open", path, unix.EISDIR)
	case !info.Mode().IsRegular():
		err = PathError("open", path, fs.ErrInvalid)
	}
	if err != nil {
		f.Close()
		return nil, mark(err)
	}
	return named.open(path, f), nil
}

func (osFS) Mkdir(path string) error { return mark(os.Mkdir(path, 0o700)) }

func (osFS) Rename(oldPath, newPath string) error {
	err := os.Rename(oldPath, newPath)
	if err == nil {
		named.rename(oldPath, newPath)
	}
	return mark(err)
}

func (osFS) Remove(path string) error { return mark(os.Remove(path)) }

func (osFS) List(dir string) ([]Info, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, mark(err)
	}
	infos := make([]Info, 0, len(entries))
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed since the directory was read
		}
		if err != nil {
			return nil, mark(err)
		}
		infos = append(infos, describe(info))
	}
	return infos, nil
}

func (osFS) Stat(path string) (Info, error) {
	info, err := os.Stat(path)
	if err != nil {
		return Info{}, mark(err)
	}
	return describe(info), nil
}

func describe(info fs.FileInfo) Info {
	if info.IsDir() {
		return Info{Name: info.Name(), Dir: true}
	}
	return Info{Name: info.Name(), Size: info.Size()}
}

func (osFS) OpenDir(dir string) (Dir, error) {
	d, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, mark(err)
	}
	return osDir{d}, nil
}

// osDir is an open directory.
type osDir struct{ f *os.File }

// Sync is fsync, not fdatasync: a directory's metadata is its content.
func (d osDir) Sync() error { return mark(d.f.Sync()) }

func (d osDir) Close() error { return mark(d.f.Close()) }

// Lock takes a flock. It belongs to the open file and not to the process: a second
// Lock fails within the same process too. The kernel frees it when the process ends,
// for whatever reason.
func (osFS) Lock(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, mark(err)
	}
	l, err := lockFile(f, path)
	if err != nil {
		return nil, err
	}
	l.writePID(os.Getpid())
	return l, nil
}

// lockReadOnly is Lock for a file system that cannot be written to. If there is no file of
// that name, nobody can lock it through this mount, and lockReadOnly takes no lock.
func (osFS) lockReadOnly(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return io.NopCloser(nil), nil
	}
	if err != nil {
		return nil, mark(err)
	}
	if _, err = lockFile(f, path); err != nil {
		return nil, err
	}
	return f, nil
}

// lockFile locks an open file, and closes it on an error.
func lockFile(f *os.File, path string) (*osLock, error) {
	l := &osLock{osFile{f: f}}
	err := l.f.call("lock", func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = &LockedError{Path: path, PID: l.readPID()}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return l, nil
}

// osLock is a lock. Its file names the holder and is never removed: otherwise two
// processes could each lock a file of that name.
type osLock struct{ f osFile }

func (l *osLock) readPID() int {
	var b [20]byte
	n, _ := l.f.ReadAt(b[:], 0) // the end of the file is expected
	pid, err := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	if err != nil || pid < 0 {
		return 0
	}
	return pid
}

// writePID writes the holder's process id for others to read. Its errors are ignored:
// the lock does not depend on it, and a full disk must not keep a store from opening.
func (l *osLock) writePID(pid int) {
	_ = l.f.Truncate(0)
	_, _ = l.f.WriteAt([]byte(strconv.Itoa(pid)+"\n"), 0)
}

// Close releases the lock. It empties the file first: a process that meets the next
// holder before that one has written its id reports no id instead of ours.
func (l *osLock) Close() error {
	_ = l.f.Truncate(0)
	return l.f.Close()
}

// osFile is an open file. Its errors name the path that it has now: package os keeps the
// path that a file was opened by.
type osFile struct {
	f *os.File

	// Guarded by named.mu.
	renamed string  // the path; empty: that of f
	next    *osFile // of the same path
}

// path returns the path of the file. It is for errors, since it takes a lock.
func (f *osFile) path() string {
	named.mu.Lock()
	defer named.mu.Unlock()
	return f.pathLocked()
}

// pathLocked is path for a caller that holds named.mu.
func (f *osFile) pathLocked() string {
	if f.renamed != "" {
		return f.renamed
	}
	return f.f.Name()
}

// mark is mark for an error of package os, which names the path that the file was opened by.
func (f *osFile) mark(err error) error {
	if err == nil {
		return nil // without the work below, which allocates
	}
	var at *fs.PathError
	if errors.As(err, &at) {
		err = &fs.PathError{Op: at.Op, Path: f.path(), Err: at.Err}
	}
	return mark(err)
}

func (f *osFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.f.ReadAt(p, off)
	return n, f.mark(err)
}

func (f *osFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.f.WriteAt(p, off)
	return n, f.mark(err)
}

func (f *osFile) Close() error {
	named.close(f)
	return f.mark(f.f.Close())
}

func (f *osFile) Size() (int64, error) {
	info, err := f.f.Stat()
	if err != nil {
		return 0, f.mark(err)
	}
	return info.Size(), nil
}

// IsAt makes the calls of package unix, which allocate less than those of package os: it is
// called at each rotation of the log.
func (f *osFile) IsAt(path string) (bool, error) {
	var own, there unix.Stat_t
	if err := f.call("stat", func(fd int) error { return unix.Fstat(fd, &own) }); err != nil {
		return false, err
	}
	err := unix.EINTR
	for errors.Is(err, unix.EINTR) {
		err, _ = unix.Lstat(path, &there).(unix.Errno) //nolint:errorlint // package unix wraps nothing
	}
	switch err {
	case 0:
		return own.Dev == there.Dev && own.Ino == there.Ino, nil
	case unix.ENOENT, unix.ENOTDIR:
		return false, nil
	}
	return false, PathError("stat", path, err)
}

func (f *osFile) Truncate(size int64) error { return f.mark(f.f.Truncate(size)) }

func (f *osFile) WriteBack(off, n int64, wait bool) error {
	return f.call("write back", func(fd int) error { return writeBack(fd, off, n, wait) })
}

// Forget is posix_fadvise with POSIX_FADV_DONTNEED.
func (f *osFile) Forget(off, n int64) {
	_ = f.call("forget", func(fd int) error { return forget(fd, off, n) })
}

func (f *osFile) Sync() error { return f.call("sync", datasync) }

// Allocate is fallocate. If the file system does not support it, Allocate writes zeros
// beyond the end of the file; holes below the end remain holes.
func (f *osFile) Allocate(off, n int64) error {
	if !ValidRange(off, n) {
		return PathError("allocate", f.path(), fs.ErrInvalid)
	}
	size, err := f.Size()
	if err != nil {
		return err
	}
	err = f.call("allocate", func(fd int) error { return allocate(fd, off, n) })
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		err = f.writeZeros(max(off, size), off+n)
	}
	if err != nil {
		// On failure ext4 keeps the blocks that it found and counts them into the size.
		if now, sizeErr := f.Size(); sizeErr == nil && now > size {
			err = errors.Join(err, f.Truncate(size))
		}
	}
	return err
}

// writeZeros fills [off, end) with zeros.
func (f *osFile) writeZeros(off, end int64) error {
	zeros := make([]byte, min(256<<10, max(end-off, 0)))
	for off < end {
		n, err := f.WriteAt(zeros[:min(int64(len(zeros)), end-off)], off)
		if err != nil {
			return err
		}
		off += int64(n)
	}
	return nil
}

func (f *osFile) Map(n int64) (Mapping, error) {
	if n < 0 || int64(int(n)) != n {
		return nil, PathError("map", f.path(), fs.ErrInvalid)
	}
	m := &osMapping{path: f.path()}
	err := f.call("map", func(int) (err error) {
		if n > 0 { // the kernel refuses an empty mapping
			m.data, err = mmap.MapRegion(f.f, int(n), mmap.RDONLY, 0, 0)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return m, nil
}

// call runs one system call on the descriptor, which a concurrent Close cannot close
// meanwhile. It repeats a call that a signal interrupted: Go's own preemption sends
// signals.
func (f *osFile) call(op string, syscall func(fd int) error) error {
	conn, err := f.f.SyscallConn()
	if err != nil {
		return PathError(op, f.path(), err)
	}
	closed := conn.Control(func(fd uintptr) {
		for err = unix.EINTR; errors.Is(err, unix.EINTR); {
			err = syscall(int(fd))
		}
	})
	if closed != nil { // the only reason to refuse
		err = fs.ErrClosed
	}
	if err == nil {
		return nil
	}
	return PathError(op, f.path(), err)
}

// osMapping is a read-only shared mapping.
type osMapping struct {
	path string
	data mmap.MMap
}

// ReadAt copies under a guard. A page that cannot be read raises SIGBUS; the guard
// makes the runtime turn the signal into a panic, and catchFault turns that into an
// error.
func (m *osMapping) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, PathError("read mapping of", m.path, fs.ErrInvalid)
	}
	if off >= int64(len(m.data)) {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	defer m.catchFault(debug.SetPanicOnFault(true), &n, &err)
	n = copy(p, m.data[off:])
	if n < len(p) {
		err = io.EOF
	}
	return n, err
}

// Prefetch implements [Prefetcher].
func (m *osMapping) Prefetch(off int64) {
	const lines = 4
	if off >= 0 && off < int64(len(m.data)) {
		prefetch.Lines(unsafe.Pointer(&m.data[off]), lines)
	}
}

// catchFault restores the goroutine's setting and turns the panic of a fault inside
// the mapping into an error. Any other panic continues: a fault elsewhere comes from
// the caller's slice or from a bug.
func (m *osMapping) catchFault(panicOnFault bool, n *int, err *error) {
	debug.SetPanicOnFault(panicOnFault)
	r := recover()
	if r == nil {
		return
	}
	if fault, ok := r.(interface{ Addr() uintptr }); !ok || !m.holds(fault.Addr()) {
		panic(r)
	}
	*n, *err = 0, PathError("read mapping of", m.path, ErrFault)
}

func (m *osMapping) holds(addr uintptr) bool {
	base := uintptr(unsafe.Pointer(unsafe.SliceData(m.data)))
	return addr >= base && addr-base < uintptr(len(m.data))
}

func (m *osMapping) Close() error {
	if m.data == nil {
		return nil
	}
	return PathError("unmap", m.path, m.data.Unmap())
}
