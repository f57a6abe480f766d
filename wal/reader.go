package wal

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"kvd/internal/vfs"
	"kvd/kv"
)

// Reader knows the files of a log as it was left. It writes nothing before
// Start, and is for one goroutine.
type Reader struct {
	opts       Options
	chain      []storedFile       // contiguous by number, ascending; the newest last
	stale      []storedFile       // spares, and files from before a gap in the numbers
	unreadable []*kv.CorruptError // files that may hold anything: without a readable header, or two of one number
	scratch    []string           // names of files that were being made
	slots      uint64             // highest slot in any name
	notes      []string
	ended      bool // a Replay of the frames from the LSN from on reached the end, at last
	from, last LSN
	page       [pageSize]byte // scratch
}

// storedFile is a file with a readable header.
type storedFile struct {
	header
	path   string
	actual int64 // its size, bytes; a cut file's is less than the header's
}

// Open lists the log's directory and reads the headers of its files, both
// copies. It returns an error matching kv.ErrVersion for a file of a newer
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
		f, err := r.look(e)
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

// look classes a directory entry. It returns a file of the log whose header is
// readable, or nil.
func (r *Reader) look(e vfs.Info) (*storedFile, error) {
	scratch, isScratch := parseName(e.Name, scratchSuffix)
	slot, isFile := parseName(e.Name, fileSuffix)
	r.slots = max(r.slots, scratch, slot)
	switch {
	case isFile && !e.Dir:
		return r.readHeaders(e.Name, slot)
	case isScratch && !e.Dir:
		r.scratch = append(r.scratch, e.Name)
	default:
		r.note("%s does not belong to the log and is left alone", r.opts.path(e.Name))
	}
	return nil, nil
}

// readHeaders reads both headers of a file. Nil means that neither is readable
// and that r.unreadable says so.
func (r *Reader) readHeaders(name string, slot uint64) (*storedFile, error) {
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
	first, errFirst := r.readHeader(f, slot, 0)
	last, errLast := r.readHeader(f, slot, max(0, size-pageSize)&^(pageSize-1))
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

func (r *Reader) readHeader(f vfs.File, slot uint64, offset int64) (header, error) {
	if err := readFull(f, r.page[:], offset); err != nil {
		return header{}, fmt.Errorf("read header: %w", err)
	}
	return decodeHeader(&r.page, slot, offset)
}

// sort finds the chain: the newest file, the one that it names before it, and
// so on. What is left when the chain breaks is no longer part of the log, or
// the log begins above what its reader needs, and First tells.
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

// First returns the lowest LSN that the files can still hold: frames below it
// are gone. It is 1 for a log without files.
func (r *Reader) First() LSN {
	if len(r.chain) == 0 {
		return 1
	}
	return r.chain[0].after + 1
}

func (r *Reader) note(format string, args ...any) {
	r.notes = append(r.notes, fmt.Sprintf(format, args...))
}
