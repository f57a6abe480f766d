package wal

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"kvd/internal/vfs"
	"kvd/kv"
)

// Reader has the files of a log as they were found. It writes nothing before Start. It is
// for one goroutine.
type Reader struct {
	opts       Options
	chain      []storedFile       // contiguous by number, ascending; the newest last
	stale      []storedFile       // spares, and files that the chain does not reach
	unreadable []*kv.CorruptError // files with unknown content: without a readable header, or two of one number
	scratch    []string           // names of files that were being made
	maxFileID  uint64             // highest file id in any name
	mark       mark
	notes      []string
	ended      bool           // the last Replay reached the end of the log
	from, last LSN            // the frames of that Replay
	page       [pageSize]byte // buffer
}

// storedFile is a file with a readable header.
type storedFile struct {
	header
	path   string
	actual int64 // its size, bytes; a cut file's is less than the header's
}

// Open lists the log's directory and reads the headers of its files, both
// copies, and the mark. It returns an error matching kv.ErrVersion for a file of another
// format, and a *kv.CorruptError for one of another store. Damage is not an
// error yet: Replay reports it.
func Open(o Options) (*Reader, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	entries, err := o.FS.List(o.Dir)
	if err != nil {
		return nil, wrap(err)
	}
	r := &Reader{opts: o}
	var files []storedFile
	for _, e := range entries {
		f, err := r.classify(e)
		if err != nil {
			return nil, err
		}
		if f != nil {
			files = append(files, *f)
		}
	}
	r.sort(files)
	return r, nil
}

// classify returns the file of a directory entry if it is a log file with a readable
// header, otherwise nil.
func (r *Reader) classify(e vfs.Info) (*storedFile, error) {
	scratch, isScratch := parseName(e.Name, scratchSuffix)
	fileID, isFile := parseName(e.Name, fileSuffix)
	r.maxFileID = max(r.maxFileID, scratch, fileID)
	switch {
	case isFile && !e.Dir:
		return r.readHeaders(e.Name, fileID)
	case e.Name == MarkFile && !e.Dir:
		return nil, r.readMark()
	case isScratch && !e.Dir:
		r.scratch = append(r.scratch, e.Name)
	default:
		r.note("%s does not belong to the log and is left alone", r.opts.path(e.Name))
	}
	return nil, nil
}

// readHeaders reads both headers of a file. If neither is readable, it adds the file to
// r.unreadable and returns nil.
func (r *Reader) readHeaders(name string, fileID uint64) (*storedFile, error) {
	p := r.opts.path(name)
	f, err := r.opts.FS.Open(p, vfs.ReadOnly)
	if err != nil {
		return nil, wrap(err)
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, wrap(err)
	}
	first, errFirst := r.readHeader(f, fileID, 0)
	last, errLast := r.readHeader(f, fileID, max(0, size-pageSize)&^(pageSize-1))
	if err := errors.Join(errFirst, errLast); errors.Is(err, kv.ErrVersion) {
		return nil, fmt.Errorf("wal: %s: %w", p, err)
	}
	h := first
	switch {
	case errFirst != nil && errLast != nil:
		r.unreadable = append(r.unreadable, &kv.CorruptError{
			File: p, Offset: 0, Detail: "neither header is readable: " + errLast.Error(), Err: errFirst,
		})
		return nil, nil
	case errFirst != nil:
		h = last
		r.note("%s: the first header is unreadable, the last one stands in: %v", p, errFirst)
	case errLast != nil:
		r.note("%s: the last header is unreadable, the first one stands in: %v", p, errLast)
	case last.number > first.number:
		h = last
	}
	if h.store != r.opts.StoreID {
		return nil, &kv.CorruptError{
			File: p, Offset: 0, Detail: fmt.Sprintf("it belongs to store %x, not to %x", h.store, r.opts.StoreID),
		}
	}
	if size != h.size {
		r.note("%s has %d bytes, its header says %d", p, size, h.size)
	}
	return &storedFile{header: h, path: p, actual: size}, nil
}

func (r *Reader) readHeader(f vfs.File, fileID uint64, offset int64) (header, error) {
	if err := readFull(f, r.page[:], offset); err != nil {
		return header{}, fmt.Errorf("read header: %w", err)
	}
	return decodeHeader(&r.page, fileID, offset)
}

// sort finds the chain: the newest file, the file that it names before it, and so on. If
// the chain breaks, the remaining files are no longer part of the log. First then shows
// whether the log begins above the frames that the caller needs.
func (r *Reader) sort(files []storedFile) {
	slices.SortFunc(files, func(a, b storedFile) int { return cmp.Compare(a.number, b.number) })
	for i := 1; i < len(files); i++ {
		if f, twin := files[i], files[i-1]; f.number == twin.number && f.number != 0 {
			r.unreadable = append(r.unreadable, &kv.CorruptError{
				File: f.path, Offset: 0, Detail: fmt.Sprintf("it and %s are both file number %d of the log", twin.path, f.number),
			})
		}
	}
	for len(files) > 0 {
		f := files[len(files)-1]
		if f.number == 0 || len(r.chain) > 0 && f.number != r.chain[len(r.chain)-1].prev {
			break
		}
		r.chain = append(r.chain, f)
		files = files[:len(files)-1]
	}
	slices.Reverse(r.chain)
	r.stale = files
}

// First returns the lowest LSN that the files can still have: frames below it were
// removed. It is 1 for a log without files.
func (r *Reader) First() LSN {
	if len(r.chain) == 0 {
		return 1
	}
	return r.chain[0].after + 1
}

func (r *Reader) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}
