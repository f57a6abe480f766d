package blob

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Dir is a Store in a directory: an object is a file. Files have mode 0600 and the directories that it
// makes 0700, whatever the umask. An object is written to a temporary file, synced, linked to its name,
// which fails if the name is taken, and its directory is synced: after a power cut it is whole or
// absent. Symbolic links do not lead out of the directory.
type Dir struct {
	path string
	root *os.Root
	dirs sync.Map // names of directories that exist durably
}

const (
	// scratchDir has the temporary files.
	scratchDir = ".tmp"
	// scratchAge is how old a temporary file is that nobody writes any more.
	scratchAge = 24 * time.Hour

	fileMode = 0o600
	dirMode  = 0o700
)

// OpenDir opens a directory. It makes one if there is none; its parent has to exist.
func OpenDir(name string) (*Dir, error) {
	if err := makeDir(name); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	d := &Dir{path: name, root: root}
	d.cleanScratch()
	return d, nil
}

// makeDir makes a directory durably, with its mode, if there is none.
func makeDir(name string) error {
	err := os.Mkdir(name, dirMode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil {
		err = os.Chmod(name, dirMode)
	}
	if err == nil {
		err = syncDir(os.Open(filepath.Dir(filepath.Clean(name))))
	}
	return err
}

// syncDir syncs an open directory, and closes it.
func syncDir(f *os.File, err error) error {
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// cleanScratch removes what ended processes have left, as far as it can.
func (d *Dir) cleanScratch() {
	old, err := fs.ReadDir(d.root.FS(), scratchDir)
	if err != nil {
		return // there is none
	}
	for _, e := range old {
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > scratchAge {
			_ = d.root.Remove(path.Join(scratchDir, e.Name()))
		}
	}
}

// Close releases the directory. No call may follow.
func (d *Dir) Close() error { return d.root.Close() }

func (d *Dir) String() string { return d.path }

// Put implements [Store].
func (d *Dir) Put(ctx context.Context, name string, data []byte) error {
	err := errors.Join(ctx.Err(), CheckPut(name, data))
	if err == nil {
		err = d.put(name, data)
	}
	return d.error("put", name, err)
}

func (d *Dir) put(name string, data []byte) error {
	dir := path.Dir(name)
	if err := errors.Join(d.mkdirs(scratchDir), d.mkdirs(dir)); err != nil {
		return err
	}
	scratch, err := d.write(data)
	if scratch != "" {
		defer func() { _ = d.root.Remove(scratch) }() // what stays is removed a day later
	}
	if err != nil {
		return err
	}
	err = d.root.Link(scratch, name)
	switch {
	case errors.Is(err, fs.ErrExist):
		return d.compare(name, data)
	case errors.Is(err, syscall.EPERM), errors.Is(err, errors.ErrUnsupported):
		return fmt.Errorf("%w (the file system has to support hard links)", err)
	case err != nil:
		return err
	}
	return syncDir(d.root.Open(dir))
}

// mkdirs makes a directory below the root, with its parents, durably. One that exists may not be
// durable: the process that made it may have ended before that.
func (d *Dir) mkdirs(dir string) error {
	if _, known := d.dirs.Load(dir); known || dir == "." {
		return nil
	}
	if err := d.mkdirs(path.Dir(dir)); err != nil {
		return err
	}
	err := d.root.Mkdir(dir, dirMode)
	switch {
	case err == nil:
		err = d.root.Chmod(dir, dirMode)
	case errors.Is(err, fs.ErrExist):
		err = nil
	}
	if err == nil {
		err = syncDir(d.root.Open(path.Dir(dir)))
	}
	if err == nil {
		d.dirs.Store(dir, true)
	}
	return err
}

// write writes a temporary file and syncs it. It returns the file's name, beside an error too if there
// is a file.
func (d *Dir) write(data []byte) (string, error) {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails
	name := path.Join(scratchDir, hex.EncodeToString(random[:]))
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if err := f.Chmod(fileMode); err != nil {
		return name, err
	}
	if _, err := f.Write(data); err != nil {
		return name, err
	}
	if err := f.Sync(); err != nil {
		return name, err
	}
	return name, f.Close()
}

// compare returns ErrExists if an object has other bytes. It makes sure that the object's name is
// durable: the process that put it may have ended before that.
func (d *Dir) compare(name string, data []byte) error {
	f, info, err := d.open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if info.Size() != int64(len(data)) {
		return ErrExists
	}
	old := make([]byte, len(data))
	if _, err := f.ReadAt(old, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if !bytes.Equal(old, data) {
		return ErrExists
	}
	return syncDir(d.root.Open(path.Dir(name)))
}

// open opens the file of an object.
func (d *Dir) open(name string) (*os.File, fs.FileInfo, error) {
	f, err := d.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO does not block
	if err != nil {
		return nil, nil, notFound(err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = ErrNotFound
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// notFound makes the error of a missing file that of a missing object.
func notFound(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return ErrNotFound
	}
	return err
}

// GetRange implements [Store].
func (d *Dir) GetRange(ctx context.Context, name string, offset, length int64) ([]byte, error) {
	err := errors.Join(ctx.Err(), CheckRange(name, offset, length))
	if err != nil {
		return nil, d.error("get", name, err)
	}
	data, err := d.read(name, offset, length)
	return data, d.error("get", name, err)
}

func (d *Dir) read(name string, offset, length int64) ([]byte, error) {
	f, info, err := d.open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info.Size() < offset+length {
		return nil, fmt.Errorf("%w: it has %d bytes, not %d", ErrRange, info.Size(), offset+length)
	}
	data := make([]byte, length)
	if _, err := f.ReadAt(data, offset); err != nil {
		return nil, err
	}
	return data, nil
}

// List implements [Store].
func (d *Dir) List(ctx context.Context, prefix string) ([]Info, error) {
	err := CheckPrefix(prefix)
	if err != nil {
		return nil, d.error("list", prefix, err)
	}
	top := path.Clean(prefix) // "." for the whole
	var infos []Info
	err = fs.WalkDir(d.root.FS(), top, func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return present(err) // there may be no object of the prefix
		case ctx.Err() != nil:
			return ctx.Err()
		case e.IsDir() && name != "." && strings.HasPrefix(e.Name(), "."):
			return fs.SkipDir
		case !e.Type().IsRegular() || !ValidName(name) || !strings.HasPrefix(name, prefix): // dir/ may be a file
			return nil
		case len(infos) == ListMax:
			return fmt.Errorf("%w: there are more than %d objects", ErrTooLarge, ListMax)
		}
		info, err := e.Info()
		if err != nil {
			return present(err)
		}
		infos = append(infos, Info{name, info.Size(), info.ModTime().UTC()})
		return nil
	})
	if err != nil {
		return nil, d.error("list", prefix, err)
	}
	slices.SortFunc(infos, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
	return infos, nil
}

// present returns nil for the error of a file that is not there, or not any more.
func present(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Delete implements [Store].
func (d *Dir) Delete(ctx context.Context, name string) error {
	err := errors.Join(ctx.Err(), CheckName(name))
	if err == nil {
		err = d.root.Remove(name)
	}
	if err == nil {
		err = syncDir(d.root.Open(path.Dir(name)))
	}
	if errors.Is(notFound(err), ErrNotFound) {
		return nil
	}
	return d.error("delete", name, err)
}

// Stat implements [Store].
func (d *Dir) Stat(ctx context.Context, name string) (Info, error) {
	err := errors.Join(ctx.Err(), CheckName(name))
	if err != nil {
		return Info{}, d.error("stat", name, err)
	}
	f, info, err := d.open(name)
	if err != nil {
		return Info{}, d.error("stat", name, err)
	}
	f.Close()
	return Info{name, info.Size(), info.ModTime().UTC()}, nil
}

// error returns the error of a call, in the form of the package.
func (d *Dir) error(op, name string, err error) error {
	if err == nil {
		return nil
	}
	var system *fs.PathError
	var link *os.LinkError
	switch { // their paths are in Error already
	case errors.As(err, &link):
		err = link.Err
	case errors.As(err, &system):
		err = system.Err
	}
	return &Error{op, d.path, name, err}
}
