package image

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"kvd/internal/vfs"
)

// Reader reads a file from its begin to its end, and verifies each block before it returns a
// byte of it. It is not safe for concurrent use.
type Reader struct {
	file  vfs.File
	sums  sums
	block []byte // what was verified and not read yet
	room  []byte

	offset int64 // of the next block in the file
	left   int64 // bytes of content in the blocks from there on
	length int64
}

// Open opens the file of a state. The error is that of the system, matching fs.ErrNotExist if
// there is no file, or matches ErrStale or ErrDamaged. A Reader takes 256 KiB of memory.
func Open(fsys vfs.FS, dir string, k Key) (*Reader, error) {
	file, err := fsys.Open(pathOf(dir, k.Bucket), vfs.ReadOnly)
	if err != nil {
		return nil, err
	}
	length, err := checkHeader(file, &k)
	if err != nil {
		_ = file.Close() // nothing was written
		return nil, err
	}
	return &Reader{file: file, sums: newSums(&k), offset: headerSize, left: length, length: length}, nil
}

// checkHeader returns the length of the content of a file.
func checkHeader(file vfs.File, k *Key) (length int64, err error) {
	header := make([]byte, headerSize)
	if _, err := file.ReadAt(header, 0); errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("%w: it has less than a header", ErrDamaged)
	} else if err != nil {
		return 0, err
	}
	length = int64(binary.LittleEndian.Uint64(header[headerSize-2*sumSize:]))
	want := k.header(length)
	if !bytes.Equal(header[:headerSize-2*sumSize], want[:headerSize-2*sumSize]) {
		return 0, ErrStale
	}
	size, err := file.Size()
	if err != nil {
		return 0, err
	}
	if !bytes.Equal(header, want) || length < 0 || length > size || size != fileSize(length) {
		return 0, fmt.Errorf("%w: its header", ErrDamaged)
	}
	return length, nil
}

// fileSize returns the size of a file with so many bytes of content.
func fileSize(length int64) int64 {
	blocks := (length + blockSize - 1) / blockSize
	return headerSize + length + blocks*sumSize
}

// Len returns how many bytes the content has.
func (r *Reader) Len() int64 { return r.length }

// Read reads from the content. A failed checksum is an error that matches ErrDamaged.
func (r *Reader) Read(p []byte) (n int, err error) {
	if len(r.block) == 0 {
		if r.left == 0 {
			return 0, io.EOF
		}
		if err := r.next(); err != nil {
			return 0, err
		}
	}
	n = copy(p, r.block)
	r.block = r.block[n:]
	return n, nil
}

// next reads and verifies the next block.
func (r *Reader) next() error {
	if r.room == nil {
		r.room = make([]byte, blockSize+sumSize)
	}
	n := min(r.left, blockSize)
	b := r.room[:n+sumSize]
	if _, err := r.file.ReadAt(b, r.offset); errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: it ends at block %d", ErrDamaged, r.sums.blocks)
	} else if err != nil {
		return err
	}
	if r.sums.next(b[:n]) != binary.LittleEndian.Uint64(b[n:]) {
		return fmt.Errorf("%w: block %d", ErrDamaged, r.sums.blocks-1)
	}
	r.block = b[:n]
	r.offset += int64(len(b))
	r.left -= n
	return nil
}

// Close closes the file.
func (r *Reader) Close() { _ = r.file.Close() } // nothing was written
