package image

import (
	"encoding/binary"
	"errors"
	"io"
	"io/fs"

	"kvd/internal/vfs"
)

// Writer writes a file. It is not safe for concurrent use. Either Commit or Abort ends it.
type Writer struct {
	fs   vfs.FS
	dir  string
	key  Key
	file vfs.File

	block  []byte // not written yet; has room for its checksum
	sums   sums
	offset int64 // of block in the file
	length int64 // of the content
}

// Create begins the file of a bucket aside, in place of one that was begun before. The
// directory must exist. It takes 256 KiB of memory.
func Create(fsys vfs.FS, dir string, k Key) (*Writer, error) {
	name := pathOf(dir, k.Bucket) + unready
	if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	file, err := fsys.Open(name, vfs.Create)
	if err != nil {
		return nil, err
	}
	return &Writer{
		fs: fsys, dir: dir, key: k, file: file,
		block: make([]byte, 0, blockSize+sumSize), sums: newSums(&k), offset: headerSize,
	}, nil
}

// Write adds to the content.
func (w *Writer) Write(p []byte) (n int, err error) {
	n = len(p)
	for len(p) > 0 {
		room := min(blockSize-len(w.block), len(p))
		w.block = append(w.block, p[:room]...)
		p = p[room:]
		if len(w.block) == blockSize {
			if err := w.flush(); err != nil {
				return n - len(p), err
			}
		}
	}
	return n, nil
}

// flush writes the block.
func (w *Writer) flush() error {
	if len(w.block) == 0 {
		return nil
	}
	w.length += int64(len(w.block))
	b := binary.LittleEndian.AppendUint64(w.block, w.sums.next(w.block))
	n, err := w.file.WriteAt(b, w.offset)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	w.offset += int64(len(b))
	w.block = w.block[:0]
	return err
}

// Commit makes the file durable and gives it its name. After an error no file of that name is
// from this writer.
func (w *Writer) Commit() error {
	err := w.flush()
	if err == nil {
		_, err = w.file.WriteAt(w.key.header(w.length), 0)
	}
	if err == nil {
		err = w.file.Sync()
	}
	if err = errors.Join(err, w.file.Close()); err != nil {
		w.remove()
		return err
	}
	name := pathOf(w.dir, w.key.Bucket)
	return w.fs.Rename(name+unready, name)
}

// Abort removes what was written.
func (w *Writer) Abort() {
	_ = w.file.Close() // what it holds is not needed
	w.remove()
}

func (w *Writer) remove() {
	_ = w.fs.Remove(pathOf(w.dir, w.key.Bucket) + unready) // if it stays, Clean removes it
}
