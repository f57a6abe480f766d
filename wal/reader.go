package wal

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"kvd/internal/vfs"
	"kvd/kv"
)

// Reader has the files of a log as they were found. It writes nothing before Start. It is
// for one goroutine.
type Reader struct {
	opts       Options
	chain      []storedFile     // ascending; the newest last. Between two of them files may be missing
	stale      []storedFile     // spares, and files that the chain does not have
	unreadable []unreadableFile // files with unknown content: without a readable header, or two of one number
	scratch    []string         // names of files that were being made
	maxFileID  uint64           // highest file id in any name
	mark       mark
	notes      []string
	ended      bool            // the last Replay succeeded
	from, end  LSN             // of that Replay
	damaged    map[string]bool // paths of the files in which that Replay found holes
	page       [pageSize]byte  // buffer
}

// storedFile is a file with a readable header.
type storedFile struct {
	header
	path   string
	actual int64 // its size, bytes; a cut file's is less than the header's
}

// unreadableFile is a file whose place in the log is unknown.
type unreadableFile struct {
	fileID uint64
	size   int64
	err    *kv.CorruptError
}

func (u *unreadableFile) finding() finding {
	return finding{u.err.File, u.err.Offset, u.err.Detail, u.err.Err}
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
		r.addUnreadable(fileID, size, p, "neither header is readable: "+errLast.Error(), errFirst)
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

func (r *Reader) addUnreadable(fileID uint64, size int64, file, why string, cause error) {
	r.unreadable = append(r.unreadable, unreadableFile{fileID, size, &kv.CorruptError{File: file, Offset: 0, Detail: why, Err: cause}})
}

// sort finds the chain: the newest file, the file that it names before it, and so on. If
// that one is missing, the chain goes on with the next lower number.
func (r *Reader) sort(files []storedFile) {
	slices.SortFunc(files, func(a, b storedFile) int { return cmp.Compare(a.number, b.number) })
	for i := 1; i < len(files); i++ {
		if f, twin := files[i], files[i-1]; f.number == twin.number && f.number != 0 {
			r.addUnreadable(f.fileID, f.actual, f.path, fmt.Sprintf("it and %s are both file number %d of the log", twin.path, f.number), nil)
			files = slices.Delete(files, i, i+1)
			i--
		}
	}
	before := uint64(math.MaxUint64) // the next file of the chain has this number, or a lower one
	for _, f := range slices.Backward(files) {
		if f.number == 0 || f.number > before {
			r.stale = append(r.stale, f)
			continue
		}
		r.chain = append(r.chain, f)
		before = f.prev
	}
	slices.Reverse(r.chain)
	slices.Reverse(r.stale)
}

// First returns the lowest LSN from which on no file is missing. It is 1 for a log without
// files.
func (r *Reader) First() LSN {
	for i := len(r.chain) - 1; i >= 0; i-- {
		if i == 0 || r.chain[i-1].number != r.chain[i].prev {
			return r.chain[i].after + 1
		}
	}
	return 1
}

// gaps returns how many files the chain lacks between those that it has.
func (r *Reader) gaps() (n uint64) {
	for i := 1; i < len(r.chain); i++ {
		n += r.chain[i].prev - r.chain[i-1].number
	}
	return n
}

// Damaged returns the paths of the files in which the last Replay found holes, sorted. The
// log never uses them again and never removes them: they are evidence. The directory is
// among them if files are missing.
func (r *Reader) Damaged() []string { return slices.Sorted(maps.Keys(r.damaged)) }

func (r *Reader) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}
