package segment

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"sync"
	"sync/atomic"

	"kvd/internal/vfs"
	"kvd/kv"
)

// ErrFull is returned by [Segment.Reserve] where the room asked for would take
// the file past its limit. The caller seals the segment and starts the next.
var ErrFull = errors.New("segment is full")

// MaxSize is the largest limit of a segment, bytes.
const MaxSize = 1 << 30

const extension = ".seg"

// FileName returns the name of the segment with that number: 16 hex digits and
// ".seg".
func FileName(number uint64) string { return fmt.Sprintf("%016x%s", number, extension) }

// ParseFileName returns the number in a name that FileName made; ok is false for
// any other name.
func ParseFileName(name string) (number uint64, ok bool) {
	if len(name) != 16+len(extension) {
		return 0, false
	}
	number, err := strconv.ParseUint(name[:16], 16, 64)
	return number, err == nil && name == FileName(number)
}

// Options say where a store's segments are, and whose.
type Options struct {
	FS      vfs.FS
	Dir     string
	Seed    Seed
	StoreID [16]byte

	// Released is called when a retired segment's last pin is gone and its file may
	// be removed, by whoever gave that pin back: it must not wait for anything. Nil:
	// nobody is told.
	Released func()
}

func (o *Options) path(number uint64) string { return path.Join(o.Dir, FileName(number)) }

// Desc is what a manifest keeps about a segment.
type Desc struct {
	Number    uint64
	BucketID  uint64
	Size      int64 // bytes that count; beyond them the file holds nothing
	LastIndex int64 // offset of the last index block; 0: none
	Limit     int64 // Size never exceeds it
	Sealed    bool  // nothing will be appended
}

// Segment is one file of records. One goroutine at a time appends to it
// (Reserve, Append, Note, BeginIndex); one in the background may write index
// blocks and sync beside that (WriteIndex, Sync, Seal); any number may read
// while they hold a pin (Read), and walk (Entries, Walk).
type Segment struct {
	// Immutable after Create or Open.
	fs           vfs.FS
	path         string
	seed         Seed
	number       uint64
	bucketID     uint64
	limit        int64
	headerDamage *kv.CorruptError // nil: the file's header is sound
	onRelease    func()           // nil: nobody is told

	// Of the writer and, by its leave, of the background. nil while the segment
	// rests, and once it is sealed.
	file vfs.File

	// Of the writer alone.
	pending pending

	// Of everybody.
	size      atomic.Int64 // end of what was appended; readers stay below it
	allocated atomic.Int64 // room on the disk, bytes from the start of the file; the writer's to change
	pins      atomic.Int64 // of readers, and one of the owner until Retire
	mapping   atomic.Pointer[vfs.Mapping]
	released  chan struct{} // closed when the last pin is gone

	mu struct { // guards the making of mapping, and what Desc returns
		sync.Mutex
		indexed   int64 // end of the last index block written; of the header before the first
		lastIndex int64
		sealed    bool
	}
}

func newSegment(o *Options, d Desc) *Segment {
	s := &Segment{
		fs: o.FS, path: o.path(d.Number), seed: o.Seed,
		number: d.Number, bucketID: d.BucketID, limit: d.Limit,
		pending:  pending{prev: d.LastIndex, start: d.Size, next: d.Size},
		released: make(chan struct{}), onRelease: o.Released,
	}
	s.size.Store(d.Size)
	s.pins.Store(1)
	s.mu.indexed, s.mu.lastIndex, s.mu.sealed = d.Size, d.LastIndex, d.Sealed
	return s
}

// Create makes a new segment that takes at most limit bytes, rounded up to a
// page; [SizeFor] says what a given record needs. The caller syncs the
// directory before it relies on the file. An error that matches vfs.ErrNoSpace
// leaves no file behind.
func Create(o Options, number, bucketID uint64, limit int64) (*Segment, error) {
	limit = pageAlign(limit)
	if limit < pageSize || limit > MaxSize {
		return nil, fmt.Errorf("segment: limit is %d, must be %d to %d", limit, pageSize, MaxSize)
	}
	name := o.path(number)
	file, err := o.FS.Open(name, vfs.Create)
	if err != nil {
		return nil, fmt.Errorf("segment: create %s: %w", name, err)
	}
	header := appendFileHeader(nil, &fileHeader{
		version: version, storeID: o.StoreID, bucketID: bucketID, number: number,
	})
	if err = file.Allocate(0, pageSize); err == nil {
		_, err = file.WriteAt(header, 0)
	}
	if err != nil {
		_ = file.Close()
		_ = o.FS.Remove(name) // the first error says what is wrong; scratch is the caller's to find
		return nil, fmt.Errorf("segment: create %s: %w", name, err)
	}
	s := newSegment(&o, Desc{Number: number, BucketID: bucketID, Size: HeaderSize, Limit: limit})
	s.file = file
	s.allocated.Store(pageSize)
	return s, nil
}

// Open opens the segment that d describes. Appends to one that is not sealed go
// on at d.Size, over whatever the file holds there. A damaged header does not
// keep it from opening, because every record is checked by itself: Entries and
// Walk report it. A file that is shorter than d.Size, or is soundly another
// store's, bucket's or segment's, is a *kv.CorruptError; other errors are the
// system's, and kv.ErrVersion. The segment rests: see [Segment.Rest].
func Open(o Options, d Desc) (*Segment, error) {
	name := o.path(d.Number)
	if !d.possible() {
		return nil, fmt.Errorf("segment: open %s: impossible description %+v", name, d)
	}
	file, err := o.FS.Open(name, vfs.ReadOnly)
	if err != nil {
		return nil, fmt.Errorf("segment: open %s: %w", name, err)
	}
	defer func() { _ = file.Close() }() // nothing was written
	s := newSegment(&o, d)
	if err := s.checkFile(file, o.StoreID); err != nil {
		return nil, err
	}
	// What is allocated beyond Size may not have survived a crash: Reserve asks
	// the disk again.
	s.allocated.Store(d.Size)
	return s, nil
}

// possible reports whether a segment can be as described.
func (d *Desc) possible() bool {
	return HeaderSize <= d.Size && d.Size%alignment == 0 && d.Size <= d.Limit && d.Limit <= MaxSize &&
		0 <= d.LastIndex && d.LastIndex < d.Size
}

// checkFile checks the size and the header of an opened file. It notes a
// damaged header and returns an error for what the segment cannot be opened with.
func (s *Segment) checkFile(file vfs.File, storeID [16]byte) error {
	size, err := file.Size()
	if err != nil {
		return fmt.Errorf("segment: open %s: %w", s.path, err)
	}
	if want := s.size.Load(); size < want {
		return s.corrupt(-1, nil, "the file ends at %d, %d bytes belong to it", size, want)
	}
	h, err := readFileHeader(file)
	switch {
	case errors.Is(err, kv.ErrVersion):
		return fmt.Errorf("segment: open %s: %w", s.path, err)
	case err != nil:
		s.headerDamage = s.damage(0, "file header", err)
	case h.storeID != storeID:
		return s.corrupt(0, nil, "the file belongs to store %x, not %x", h.storeID, storeID)
	case h.bucketID != s.bucketID || h.number != s.number:
		return s.corrupt(0, nil, "the file is segment %d of bucket %d, not %d of %d",
			h.number, h.bucketID, s.number, s.bucketID)
	}
	return nil
}

func readFileHeader(f vfs.File) (fileHeader, error) {
	b := make([]byte, HeaderSize)
	if _, err := f.ReadAt(b, 0); err != nil {
		return fileHeader{}, err
	}
	return decodeFileHeader(b)
}

// Desc describes the segment as of the last index block written: what a
// manifest may name once the file is synced. Safe for concurrent use.
func (s *Segment) Desc() Desc {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Desc{
		Number: s.number, BucketID: s.bucketID, Limit: s.limit,
		Size: s.mu.indexed, LastIndex: s.mu.lastIndex, Sealed: s.mu.sealed,
	}
}

// Number returns the segment's number.
func (s *Segment) Number() uint64 { return s.number }

// Size returns the end of what was appended, bytes. Safe for concurrent use.
func (s *Segment) Size() int64 { return s.size.Load() }

// Disk returns how much of the disk the segment takes, bytes: what was appended
// and the room behind it. Safe for concurrent use.
func (s *Segment) Disk() int64 { return max(s.size.Load(), s.allocated.Load()) }

// corrupt returns a damage at offset, -1 for the file as a whole.
func (s *Segment) corrupt(offset int64, cause error, format string, args ...any) *kv.CorruptError {
	return &kv.CorruptError{File: s.path, Offset: offset, Detail: fmt.Sprintf(format, args...), Err: cause}
}

// damage returns what is wrong at offset: format errors speak for themselves,
// anything else is the system's reason why what cannot be read.
func (s *Segment) damage(offset int64, what string, err error) *kv.CorruptError {
	var format formatError
	if errors.As(err, &format) {
		return s.corrupt(offset, nil, "%s", string(format))
	}
	return s.corrupt(offset, err, "%s cannot be read", what)
}
