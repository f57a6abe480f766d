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

// ErrFull is returned by [Segment.Reserve] if the requested room would exceed the limit of
// the file. The caller then seals the segment and starts the next one.
var ErrFull = errors.New("segment is full")

// MaxSize is the largest limit of a segment, in bytes.
const MaxSize = 1 << 30

const extension = ".seg"

// FileName returns the name of the segment with that number: 16 hex digits and
// ".seg".
func FileName(number uint64) string { return fmt.Sprintf("%016x%s", number, extension) }

// ParseFileName returns the number in a name that FileName made. ok is false for any other
// name.
func ParseFileName(name string) (number uint64, ok bool) {
	if len(name) != 16+len(extension) {
		return 0, false
	}
	number, err := strconv.ParseUint(name[:16], 16, 64)
	return number, err == nil && name == FileName(number)
}

// Options describes where a store's segments are, and to which store they belong.
type Options struct {
	FS      vfs.FS
	Dir     string
	Seed    Seed
	StoreID [16]byte

	// Bucket is what errors call the bucket of the segment: its name. Empty: its number.
	Bucket string

	// Reads bounds how many files reads have open at a time, to map them, or to read where
	// the system refuses a mapping: a read waits until it can send. Nil: no bound.
	Reads chan struct{}

	// Released is called when the last pin of a retired segment is gone and its file may
	// be removed. The goroutine of the last Unpin calls it, so it must not block. It may be
	// nil.
	Released func()
}

// bucketText returns what errors call the bucket.
func (o *Options) bucketText(id uint64) string {
	if o.Bucket == "" {
		return fmt.Sprintf("bucket %d", id)
	}
	return fmt.Sprintf("bucket %q", o.Bucket)
}

func (o *Options) path(number uint64) string { return path.Join(o.Dir, FileName(number)) }

// Desc is the description of a segment in a manifest, up to its last index block.
type Desc struct {
	Number    uint64
	BucketID  uint64
	Size      int64  // bytes that count; the file has nothing valid after them
	LastIndex int64  // offset of the last index block; 0: none
	Limit     int64  // maximum of Size
	Sealed    bool   // nothing more will be appended
	Records   uint64 // their number, dead ones and erases included
	Sum       uint64 // of their head checksums, mod 2^64

	// The revisions of the first and the last record that is no erase; 0: there is none.
	First, Last kv.Revision
}

// Check returns an error if no segment has such a description.
func (d *Desc) Check() error {
	empty := d.Records == 0
	switch {
	case d.Size < HeaderSize || d.Size > d.Limit || d.Limit > MaxSize,
		empty != (d.Size == HeaderSize), empty != (d.LastIndex == 0), empty && d.Sum != 0,
		!empty && (d.Size%pageSize != 0 || d.LastIndex%pageSize != 0 || d.LastIndex < pageSize || d.LastIndex >= d.Size),
		d.Records > uint64(d.Size)/recordMin,
		(d.First == 0) != (d.Last == 0), d.First > d.Last, empty && d.Last != 0:
		return formatError(fmt.Sprintf("impossible description of a segment: %+v", *d))
	}
	return nil
}

// Segment is one file of records. One goroutine at a time may append to it (Reserve,
// Append, Hold, AddEntry, BeginIndex). At the same time one goroutine in the background may
// write index blocks and sync (WriteIndex, Sync, Seal), and any may write what is held
// (WriteHeld). Any number of goroutines may read while they have a pin (Read), and walk
// (Entries, Walk).
type Segment struct {
	// Immutable after Create or Open.
	fs        vfs.FS
	path      string
	storeID   [16]byte
	seed      Seed
	number    uint64
	bucketID  uint64
	bucket    string // as errors call it
	limit     int64
	reads     chan struct{}      // Options.Reads; may be nil
	onRelease func()             // Options.Released; may be nil
	damages   []*kv.CorruptError // of the file's header and its length, found by Open
	short     int64              // where the file ends, if it was too short for Open; else 0

	// Owned by the writer, which may let the background use it. nil while the file is
	// closed, and after Seal.
	file vfs.File

	// Owned by the writer.
	pending pending
	behind  int64 // end of what Behind returned

	// Shared by all goroutines.
	size      atomic.Int64 // end of the appended bytes; readers stay below it
	allocated atomic.Int64 // end of the reserved disk space, as an offset in the file; only the writer changes it
	unsynced  atomic.Bool  // something was written that no Sync covers
	heldFrom  atomic.Int64 // offset of the first byte of held, or nothingHeld
	pins      atomic.Int64 // number of readers' pins, plus one of the owner until Retire
	mapping   atomic.Pointer[mapping]
	released  chan struct{} // closed when the last pin is gone

	held held

	mu struct { // guards the creation of mapping, and the fields inside for Desc
		sync.Mutex
		desc Desc
	}
}

func newSegment(o *Options, d Desc) *Segment {
	s := &Segment{
		fs: o.FS, path: o.path(d.Number), storeID: o.StoreID, seed: o.Seed,
		number: d.Number, bucketID: d.BucketID, limit: d.Limit, behind: d.Size,
		pending:  pending{prev: d.lastBlock(), next: d.Size, about: d.summary()},
		released: make(chan struct{}), reads: o.Reads, onRelease: o.Released,
	}
	s.bucket = o.bucketText(d.BucketID)
	s.size.Store(d.Size)
	s.heldFrom.Store(nothingHeld)
	s.pins.Store(1)
	s.mu.desc = d
	return s
}

// lastBlock returns where the last index block is.
func (d *Desc) lastBlock() extent {
	if d.LastIndex == 0 {
		return extent{}
	}
	return extent{d.LastIndex, uint32((d.Size - d.LastIndex) / pageSize)}
}

func (d *Desc) summary() summary {
	return summary{totals{d.Records, d.Sum}, d.First, d.Last}
}

// Create makes a new segment of at most limit bytes, rounded up to a page; [SizeFor] returns
// the limit that given records need. The caller must sync the directory before it relies on
// the file. If the error matches vfs.ErrNoSpace, no file remains.
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
		version: version, storeID: o.StoreID, bucketID: bucketID, number: number, seed: o.Seed,
	})
	if err = file.Allocate(0, pageSize); err == nil {
		_, err = file.WriteAt(header, 0)
	}
	if err != nil {
		_ = file.Close()
		_ = o.FS.Remove(name) // the first error is the cause; if this fails, the caller finds a stray file
		return nil, fmt.Errorf("segment: create %s: %w", name, err)
	}
	s := newSegment(&o, Desc{Number: number, BucketID: bucketID, Size: HeaderSize, Limit: limit})
	s.file = file
	s.unsynced.Store(true)
	s.allocated.Store(pageSize)
	return s, nil
}

// Open opens the segment that d describes. If it is not sealed, appends continue at d.Size,
// and overwrite what the file has there. A damaged header is not an error of Open, because
// every record has its own checksums, and neither is a file that is shorter than d.Size:
// Entries and Walk report both. Nothing may be appended to a segment with any damage; see
// [Segment.EndUnchanged]. Open returns *kv.CorruptError if the sound header of the file names
// another store, bucket or segment. It returns kv.ErrVersion for another version; other errors
// are the system's. The segment has no open file yet: see [Segment.CloseFile].
func Open(o Options, d Desc) (*Segment, error) {
	name := o.path(d.Number)
	if err := d.Check(); err != nil {
		return nil, fmt.Errorf("segment: open %s: %w", name, err)
	}
	file, err := o.FS.Open(name, vfs.ReadOnly)
	if err != nil {
		return nil, fmt.Errorf("segment: open %s: %w", name, err)
	}
	defer func() { _ = file.Close() }() // nothing was written
	s := newSegment(&o, d)
	if err := s.checkFile(file, &o); err != nil {
		return nil, err
	}
	// Space that was allocated beyond Size may be lost in a crash, so Reserve allocates it
	// again.
	s.allocated.Store(d.Size)
	return s, nil
}

// checkFile checks the size and the header of an opened file. It records a damaged header,
// and returns an error if the segment cannot be opened.
func (s *Segment) checkFile(file vfs.File, o *Options) error {
	size, err := file.Size()
	if err != nil {
		return fmt.Errorf("segment: open %s: %w", s.path, err)
	}
	h, err := readFileHeader(file)
	switch {
	case errors.Is(err, kv.ErrVersion):
		return fmt.Errorf("segment: open %s: %w", s.path, err)
	case err != nil:
		s.damages = append(s.damages, s.damage(0, "file header", err))
	case h.storeID != o.StoreID || h.seed != o.Seed:
		return s.corrupt(0, nil, "the file belongs to store %x with seed %#x, not %x with %#x", h.storeID, uint64(h.seed), o.StoreID, uint64(o.Seed))
	case h.bucketID != s.bucketID || h.number != s.number:
		return s.corrupt(0, nil, "the file is segment %d of bucket %d, not %d of %d",
			h.number, h.bucketID, s.number, s.bucketID)
	}
	if want := s.size.Load(); size < want {
		s.short = max(size, 1)
		s.damages = append(s.damages, s.tooShort())
	}
	return nil
}

// Damaged reports whether Open found the file's header damaged, or the file too short.
func (s *Segment) Damaged() bool { return len(s.damages) > 0 }

// tooShort returns the damage of a file that is too short.
func (s *Segment) tooShort() *kv.CorruptError {
	return s.corrupt(s.short, nil, "the file ends here, %d bytes belong to it", s.size.Load())
}

// readable returns the end of what can be read of the bytes up to an offset.
func (s *Segment) readable(to int64) int64 {
	if s.short != 0 {
		return min(to, s.short)
	}
	return to
}

func readFileHeader(f vfs.File) (fileHeader, error) {
	b := make([]byte, HeaderSize)
	if _, err := f.ReadAt(b, 0); err != nil {
		return fileHeader{}, err
	}
	return decodeFileHeader(b)
}

// Desc describes the segment up to the last index block written. A manifest may contain the
// description once the file is synced. Safe for concurrent use.
func (s *Segment) Desc() Desc {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.desc
}

// Number returns the segment's number.
func (s *Segment) Number() uint64 { return s.number }

// Size returns the end of the appended bytes. Safe for concurrent use.
func (s *Segment) Size() int64 { return s.size.Load() }

// Disk returns the disk space of the segment in bytes, including the reserved space after
// the appended bytes. Safe for concurrent use.
func (s *Segment) Disk() int64 { return max(s.size.Load(), s.allocated.Load()) }

// corrupt returns an error for damage at offset; -1 means the file as a whole.
func (s *Segment) corrupt(offset int64, cause error, format string, args ...any) *kv.CorruptError {
	return &kv.CorruptError{File: s.path, Offset: offset, Detail: fmt.Sprintf(format, args...), Err: cause}
}

// damage returns an error for damage to the part what of the file at offset. A format
// error is its detail; any other error is the reason of the system for which what cannot
// be read.
func (s *Segment) damage(offset int64, what string, err error) *kv.CorruptError {
	var format formatError
	if errors.As(err, &format) {
		return s.corrupt(offset, nil, "%s", string(format))
	}
	return s.corrupt(offset, err, "%s cannot be read", what)
}
