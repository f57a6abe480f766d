package dump

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"

	"kvd/bucket/image"
	"kvd/bucket/manifest"
	"kvd/internal/vfs"
	"kvd/kv"
	"kvd/segment"
	"kvd/wal"
)

// Store tells what the files of the store in dir hold, in this order: manifest, log, segments and
// value files, images. tell is called for each part; an Item and what it points to are valid until
// tell returns. Unless [Options].Snapshot is set, the store must not be open: Store holds the
// directory's lock meanwhile, if the system permits that without writing.
//
// Damage is told and is not an error. The error is that of tell; or matches kv.ErrLocked if another
// process has the store open, kv.ErrNotStore for a directory without files of a store,
// kv.ErrVersion for a store of a newer format, or kv.ErrInvalidOption; others are the system's.
func Store(dir string, opts Options, tell func(*Item) error) error {
	r, err := newReader(dir, opts, tell)
	if err != nil {
		return err
	}
	unlock, err := r.lock()
	if err == nil {
		defer unlock()
		err = r.learn()
	}
	if err == nil {
		err = r.tellStore()
	}
	if err != nil {
		return fmt.Errorf("dump store %s: %w", dir, err)
	}
	return nil
}

// errReadOnly is the refusal of a write, which nothing here asks for.
var errReadOnly = fmt.Errorf("%w: the store is only looked at", kv.ErrReadOnly)

// reader is one call of Store or File.
type reader struct {
	dir  string
	opts Options
	fs   vfs.FS // writes nothing
	to   func(*Item) error

	// What counts; state is nil if it is not known.
	state    *manifest.State
	storeID  [16]byte
	seed     segment.Seed // 0: not known
	lives    map[uint64]*life
	named    map[uint64]*namedSegment
	replayed map[framePlace]bool
	holes    []Item          // of the log
	missing  map[uint64]Item // of segments, by number

	file *Item // the beginning of the file that is told, until it is
}

// namedSegment is a segment that the manifest names.
type namedSegment struct {
	manifest.Segment
	bucket *manifest.Bucket
}

// framePlace is the place of a frame.
type framePlace struct {
	file   string
	offset int64
}

func newReader(dir string, opts Options, tell func(*Item) error) (*reader, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	return &reader{
		dir: dir, opts: opts, fs: vfs.ReadOnlyView(opts.env.FS, errReadOnly), to: tell, seed: opts.seed(),
		lives: make(map[uint64]*life), named: make(map[uint64]*namedSegment),
		replayed: make(map[framePlace]bool), missing: make(map[uint64]Item),
	}, nil
}

// lock prevents that the store is opened meanwhile.
func (r *reader) lock() (unlock func(), err error) {
	if r.opts.Snapshot {
		return func() {}, nil
	}
	lock, err := r.fs.Lock(path.Join(r.dir, manifest.LockFile))
	var locked *vfs.LockedError
	switch {
	case errors.As(err, &locked):
		return nil, fmt.Errorf("%w: %w", kv.ErrLocked, err)
	case err != nil:
		return nil, err
	}
	return func() { _ = lock.Close() }, nil
}

// tellStore tells everything.
func (r *reader) tellStore() error {
	steps := []struct {
		what What
		tell func() error
	}{
		{Manifest, r.tellManifests},
		{Log, r.tellLog},
		{Segments | Index, r.tellSegments},
		{Index, r.tellImages},
		{Segments, r.tellLost},
	}
	for _, s := range steps {
		if !r.opts.tells(s.what) {
			continue
		}
		if err := s.tell(); err != nil {
			return err
		}
	}
	return nil
}

// begin begins a file, which is told with its first part. Without a filter it is told at once.
func (r *reader) begin(file string, text string) error {
	info, err := r.fs.Stat(file)
	if err != nil {
		return r.unreadable(file, err)
	}
	r.file = &Item{File: file, Size: info.Size, Kind: KindFile, Text: text}
	if r.opts.filtered() || r.opts.Offset != nil {
		return nil
	}
	return r.flush()
}

func (r *reader) flush() error {
	if r.file == nil {
		return nil
	}
	begun := r.file
	r.file = nil
	return r.to(begun)
}

// tell tells a part of a file, if it is at the place that is asked for.
func (r *reader) tell(i *Item) error {
	if at := r.opts.Offset; at != nil && (*at < i.Offset || *at >= i.Offset+i.Size) {
		return nil
	}
	if err := r.flush(); err != nil {
		return err
	}
	return r.to(i)
}

// tellPlain is tell for what no bucket and no key has.
func (r *reader) tellPlain(i *Item) error {
	if r.opts.filtered() {
		return nil
	}
	return r.tell(i)
}

// unreadable tells a file that cannot be read, and returns other errors than that.
func (r *reader) unreadable(file string, err error) error {
	if err == nil {
		return nil
	}
	kind := KindUnknown
	switch {
	case errors.Is(err, fs.ErrNotExist): // a store that is open removes files
		kind = KindNote
	case errors.Is(err, kv.ErrCorrupt), errors.Is(err, kv.ErrVersion), isPathError(err):
	default:
		return err
	}
	r.file = nil
	return r.to(&Item{File: file, Offset: -1, Kind: kind, Text: err.Error()})
}

func isPathError(err error) bool {
	var p *fs.PathError
	return errors.As(err, &p)
}

// list returns the files of a directory of the store, by their paths; none if there is no such
// directory.
func (r *reader) list(dir string) (files []string, err error) {
	entries, err := r.fs.List(path.Join(r.dir, dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, e := range entries {
		if !e.Dir {
			files = append(files, path.Join(r.dir, dir, e.Name))
		}
	}
	return files, err
}

func (r *reader) tellManifests() error {
	for _, name := range manifest.Names {
		if err := r.tellManifest(path.Join(r.dir, name)); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) tellLog() error {
	files, err := r.list(manifest.LogDir)
	if err != nil {
		return err
	}
	for _, file := range files {
		switch {
		case path.Base(file) == wal.MarkFile:
			err = r.tellMark(file)
		default:
			err = r.tellLogFile(file)
		}
		if err != nil {
			return err
		}
	}
	for i := range r.holes {
		if err := r.tellPlain(&r.holes[i]); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) tellSegments() error {
	files, err := r.list(manifest.SegmentDir)
	if err != nil {
		return err
	}
	for _, file := range files {
		switch path.Ext(file) {
		case ".seg":
			err = r.tellSegment(file)
		case ".val":
			err = r.tellValue(file)
		default:
			err = r.tellPlain(&Item{File: file, Offset: -1, Kind: KindNote, Text: "not the store's"})
		}
		if err != nil {
			return err
		}
	}
	for _, number := range slices.Sorted(maps.Keys(r.missing)) {
		item := r.missing[number]
		if n := r.named[number]; n == nil || !r.opts.wantsBucket(n.bucket.Config.Bucket) {
			continue
		}
		if err := r.tell(&item); err != nil {
			return err
		}
	}
	return nil
}

// tellImages tells which images of indexes an open would use.
func (r *reader) tellImages() error {
	files, err := r.list(image.Dir)
	if err != nil {
		return err
	}
	for _, file := range files {
		text := "not the store's"
		if id, ok := image.ParseFileName(path.Base(file)); ok {
			text = r.imageText(id)
		}
		if err := r.tellPlain(&Item{File: file, Offset: -1, Kind: KindNote, Text: text}); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) imageText(id uint64) string {
	text := fmt.Sprintf("image of the index of bucket %d", id)
	if r.state == nil {
		return text
	}
	b := r.state.Buckets[id]
	if b == nil {
		return text + ", which is deleted"
	}
	f, err := image.Open(r.fs, path.Join(r.dir, image.Dir), image.Key{StoreID: r.storeID, Bucket: id, Descriptor: b.Hash()})
	if err == nil {
		defer f.Close()
		err = drain(f)
	}
	if err != nil {
		return fmt.Sprintf("%s: %v; an open does without it", text, err)
	}
	return text + ", sound and of this state"
}

// tellLost tells the files that an open has set aside.
func (r *reader) tellLost() error {
	files, err := r.list(manifest.LostDir)
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := r.tellPlain(&Item{File: file, Offset: -1, Kind: KindNote, Text: "set aside by an open"}); err != nil {
			return err
		}
	}
	return nil
}
