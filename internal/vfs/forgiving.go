package vfs

import (
	"errors"
	"io"
)

// Forgiving returns a file system that reads base although some of its pages cannot be read:
// they have 0xff in every byte, which no checksum accepts, and lost is called for each of them,
// with the page's range and the system's error, from any goroutine and as often as it is read.
// Everything else is base's.
func Forgiving(base FS, lost func(path string, from, to int64, err error)) FS {
	return &forgivingFS{base, lost}
}

type forgivingFS struct {
	FS
	lost func(path string, from, to int64, err error)
}

func (f *forgivingFS) lockReadOnly(path string) (io.Closer, error) { return lockReadOnly(f.FS, path) }

func (f *forgivingFS) Open(name string, mode Mode) (File, error) {
	file, err := f.FS.Open(name, mode)
	if err != nil {
		return nil, err
	}
	return &forgivingFile{file, forgivingReader{file, name, f.lost}}, nil
}

type forgivingFile struct {
	File
	reader forgivingReader
}

func (f *forgivingFile) ReadAt(p []byte, off int64) (int, error) { return f.reader.ReadAt(p, off) }

func (f *forgivingFile) Map(n int64) (Mapping, error) {
	m, err := f.File.Map(n)
	if err != nil {
		return nil, err
	}
	return &forgivingMapping{m, forgivingReader{m, f.reader.name, f.reader.lost}}, nil
}

type forgivingMapping struct {
	Mapping
	reader forgivingReader
}

func (m *forgivingMapping) ReadAt(p []byte, off int64) (int, error) { return m.reader.ReadAt(p, off) }

// forgivingReader reads page by page where one of several pages cannot be read.
type forgivingReader struct {
	io.ReaderAt
	name string
	lost func(path string, from, to int64, err error)
}

// forgivingPage is how much is lost where something cannot be read, bytes.
const forgivingPage = 4096

func (r *forgivingReader) ReadAt(p []byte, off int64) (int, error) {
	n, err := r.ReaderAt.ReadAt(p, off)
	if err == nil || errors.Is(err, io.EOF) || off < 0 {
		return n, err
	}
	for n = 0; n < len(p); {
		at := off + int64(n)
		part := p[n:min(len(p), n+int(forgivingPage-at%forgivingPage))]
		m, err := r.ReaderAt.ReadAt(part, at)
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return n + m, err
		default:
			for i := range part {
				part[i] = 0xff
			}
			r.lost(r.name, at, at+int64(len(part)), err)
		}
		n += len(part)
	}
	return n, nil
}
