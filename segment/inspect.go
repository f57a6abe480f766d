package segment

import (
	"errors"
	"fmt"
	"path"
	"slices"

	"github.com/cespare/xxhash/v2"

	"kvd/internal/vfs"
	"kvd/kv"
)

// PageSize is the size of an index page, and of the header of a value file, bytes.
const PageSize = pageSize

// BodySum returns the second checksum of an encoded record, which covers headers and value.
func BodySum(encoded []byte) uint64 { return le.Uint64(encoded[recordBodySum:]) }

// FileHeader is what the header of a segment or a value file says, as [Inspect] and
// [InspectValue] find it. If Err is not nil, the fields are what stands there, as far as there
// are bytes, and are not to be trusted.
type FileHeader struct {
	Version, Features uint32
	StoreID           [16]byte
	BucketID          uint64
	Number            uint64
	Seed              Seed
	Stored, Computed  uint64 // checksums
	Err               error  // why the header does not count
	Size              int64  // of the file, bytes
}

// FileRecord is a record with a sound head, as [Inspect] finds it.
type FileRecord struct {
	Record           // decoded up to its key
	Offset     int64 // in the file, bytes
	Size       int   // of the record, bytes
	HeadSum    uint64
	Stored     uint64 // checksum of headers, value and padding
	Computed   uint64
	HeadersLen int              // bytes
	StoredLen  uint32           // of the value as stored, wherever it is, bytes
	ValueLen   int              // of the value before compression, bytes
	Damage     *kv.CorruptError // of the value; nil: it is sound

	walker *walker
}

// FilePage is a sound index page, as [Inspect] finds it.
type FilePage struct {
	Offset        int64 // in the file, bytes
	Sum           uint64
	Block         int64 // offset of the index block of the page
	Pages         int   // of that block
	Previous      int64 // offset of the block before; 0: none
	First         int64 // offset of the first record that the page names
	RecordsBefore uint64
	SumBefore     uint64 // of the head sums of those records, mod 2^64
	Records       uint64 // that the page names
	RecordsSum    uint64 // of their head sums, mod 2^64
	Entries       []Entry
	Err           error // why an entry could not be decoded: Entries has those before it
}

// FileGap is a range in which no record, and no index page of this place, is valid.
type FileGap struct {
	From, To int64 // bytes from the start of the file
	Zeros    bool  // all of it is zero: room that was reserved
	Cause    error // the system's, if it could not be read; else nil

	// What seems to begin at From: "record", "index page", or nothing. Then these are its
	// checksums.
	Seems            string
	Stored, Computed uint64
}

// Inspection is what receives the parts of a file from [Inspect], in the order of the file. None
// may be nil. What it receives is valid until the callback returns. An error ends the
// inspection.
type Inspection struct {
	Header func(*FileHeader) error
	Record func(*FileRecord) error
	Page   func(*FilePage) error
	Gap    func(*FileGap) error
}

// Inspect reads all of a segment's file by itself, whatever the manifest says of it, and tells
// what [Segment.Walk] would find, and more: index pages, free room, checksums. It needs no
// manifest: the file's header has bucket and seed. If the header is damaged, its fields count
// where known does not have them: the checksums of records and pages decide. known.Number 0
// stands for the number in the file's name. Only Number, BucketID and Seed of known are used; the
// fields may be 0. Inspect writes nothing. The error is a callback's, the system's of opening the
// file, or matches kv.ErrVersion where something is of a later version.
func Inspect(fsys vfs.FS, file string, known FileHeader, to Inspection) error {
	f, err := fsys.Open(file, vfs.ReadOnly)
	if err != nil {
		return fmt.Errorf("segment: inspect %s: %w", file, err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	h, err := inspectHeader(f, HeaderSize, decodeHeaderAt)
	if err != nil {
		return fmt.Errorf("segment: inspect %s: %w", file, err)
	}
	if err := to.Header(&h); err != nil {
		return err
	}
	if errors.Is(h.Err, kv.ErrVersion) {
		return fmt.Errorf("segment: inspect %s: %w", file, h.Err)
	}
	if number, ok := ParseFileName(path.Base(file)); ok && known.Number == 0 {
		known.Number = number
	}
	if h.Err == nil {
		known = h
	}
	s := &Segment{fs: fsys, path: file, storeID: h.StoreID, number: h.Number, bucketID: h.BucketID, seed: h.Seed}
	override(&s.number, known.Number)
	override(&s.bucketID, known.BucketID)
	override((*uint64)(&s.seed), uint64(known.Seed))
	s.bucket = (&Options{}).bucketText(s.bucketID)
	w := s.newWalker(f, h.Size&^(alignment-1), nil)
	w.values, w.tell = true, &to
	var damage *kv.CorruptError
	w.damaged = func(d *kv.CorruptError) { damage = d }
	return w.walk(HeaderSize, w.end, func(r *found) error {
		told := FileRecord{
			Record: r.record, Offset: r.offset, Size: r.size, HeadSum: r.headSum, Stored: r.bodySum, Computed: r.bodyHas,
			HeadersLen: r.headers, StoredLen: r.storedLen(), ValueLen: r.valueSize(&r.record), Damage: damage, walker: w,
		}
		damage = nil
		return to.Record(&told)
	})
}

func override(field *uint64, with uint64) {
	if with != 0 {
		*field = with
	}
}

// inspectHeader reads the header of a file. The error is the system's.
func inspectHeader(f vfs.File, size int, decode func(*FileHeader, []byte)) (h FileHeader, err error) {
	if h.Size, err = f.Size(); err != nil {
		return h, err
	}
	b := make([]byte, size)
	n, err := f.ReadAt(b, 0)
	if n < size {
		h.Err = formatError("the file ends inside its header")
		if h.Size >= int64(size) {
			h.Err = fmt.Errorf("%w: the header cannot be read: %w", kv.ErrCorrupt, err)
		}
		return h, nil
	}
	decode(&h, b)
	return h, nil
}

func decodeHeaderAt(h *FileHeader, b []byte) {
	h.setFields(b)
	h.Stored, h.Computed = le.Uint64(b[fileSum:]), xxhash.Sum64(b[:fileSum])
	_, h.Err = decodeFileHeader(b)
}

// setFields sets the fields that segments and value files have in the same places.
func (h *FileHeader) setFields(b []byte) {
	own := fileHeaderFields(b)
	h.Version, h.Features, h.StoreID = own.version, own.features, own.storeID
	h.BucketID, h.Number, h.Seed = own.bucketID, own.number, own.seed
}

// ReadValue returns the headers and the value of the record, decompressed, wherever it is. They
// are the caller's. The error is a *kv.CorruptError, or the system's.
func (r *FileRecord) ReadValue() (headers, value []byte, err error) {
	w := r.walker
	switch {
	case r.Damage != nil:
		return nil, nil, r.Damage
	case r.Lost:
		return nil, nil, w.s.lost(r.Offset, string(r.Key), r.Revision, nil, "%s", detailLost)
	}
	body := make([]byte, r.Size)
	if err := readFull(w.file, body, r.Offset); err != nil {
		return nil, nil, w.s.lost(r.Offset, string(r.Key), r.Revision, err, "unreadable")
	}
	full, _, err := w.s.seed.DecodeRecord(body)
	if err != nil {
		return nil, nil, w.s.lost(r.Offset, string(r.Key), r.Revision, nil, "%v", err)
	}
	if full.File.Number != 0 {
		if full.Value, err = w.s.appendValue(nil, full.File); err != nil {
			return nil, nil, w.s.valueError(err, string(r.Key), r.Revision)
		}
	}
	if value, err = full.AppendValue(nil); err != nil {
		return nil, nil, w.s.lost(r.Offset, string(r.Key), r.Revision, nil, "%v", err)
	}
	return full.Headers, value, nil
}

// tellPage tells the index page at offset, which is sound.
func (w *walker) tellPage(offset int64) error {
	if w.tell == nil {
		return nil
	}
	b := slices.Clone(w.at(offset, pageSize))
	h, entries, err := w.s.seed.decodePage(b, w.s.placeOf(offset))
	if err != nil {
		return err // it was sound: the file changes meanwhile
	}
	page := FilePage{
		Offset: offset, Sum: le.Uint64(b[pageSum:]), Block: h.block.offset, Pages: int(h.block.pages), Previous: h.prev.offset,
		First: h.first, RecordsBefore: h.before.records, SumBefore: h.before.sum, Records: h.own.records, RecordsSum: h.own.sum,
	}
	r := newPageReader(entries, &h)
	for r.advance() {
		page.Entries = append(page.Entries, r.entry)
	}
	page.Err = r.err
	return w.tell.Page(&page)
}

// tellGap tells a range without anything valid.
func (w *walker) tellGap(from, to int64) error {
	g := FileGap{From: from, To: to, Zeros: true, Cause: w.cause(from, to)}
	for at := from; at < to && g.Zeros; {
		n := int(min(to-at, int64(w.size)))
		g.Zeros = w.zero(at, at+int64(n))
		at += int64(n)
	}
	if !g.Zeros {
		w.guess(&g)
	}
	return w.tell.Gap(&g)
}

// guess says what seems to begin a gap.
func (w *walker) guess(g *FileGap) {
	if b := w.at(g.From, recordFixedSize); len(b) == recordFixedSize && le.Uint64(b[recordBucketID:]) == w.s.bucketID {
		head := w.at(g.From, headSize(b[recordKind], b[recordFlags], min(int(le.Uint16(b[recordKeyLen:])), maxKeySize)))
		g.Seems, g.Stored, g.Computed = "record", HeadSum(head), w.s.seed.sum(head[recordBodySum:])
		return
	}
	at := pageAlign(g.From)
	if b := w.at(at, pageSize); len(b) == pageSize && string(b[:len(pageMagic)]) == pageMagic {
		g.Seems, g.Stored, g.Computed = "index page", le.Uint64(b[pageSum:]), w.s.seed.pageSum(w.s.placeOf(at), b)
	}
}

// FileValue is a value file, as [InspectValue] finds it.
type FileValue struct {
	FileHeader
	Value    uint32 // length of the value by the header, bytes
	ValueSum uint64 // checksum of the value by the header
	ValueHas uint64 // checksum of the value that is there
	ValueErr error  // why the value is not that of the header; nil: it is
}

// InspectValue reads a value file by itself. seed 0 stands for the one in the header. It writes
// nothing. The error is the system's.
func InspectValue(fsys vfs.FS, file string, seed Seed) (v FileValue, err error) {
	f, err := fsys.Open(file, vfs.ReadOnly)
	if err != nil {
		return v, fmt.Errorf("segment: inspect %s: %w", file, err)
	}
	defer func() { _ = f.Close() }() // nothing was written
	v.FileHeader, err = inspectHeader(f, valueHeaderSize, func(h *FileHeader, b []byte) {
		h.setFields(b)
		h.Stored, h.Computed = le.Uint64(b[valueHeadSum:]), xxhash.Sum64(b[:valueHeadSum])
		v.ValueSum, v.Value = le.Uint64(b[valueFileSum:]), le.Uint32(b[valueLength:])
		_, h.Err = decodeValueHeader(b)
	})
	if err != nil {
		return v, fmt.Errorf("segment: inspect %s: %w", file, err)
	}
	if seed == 0 {
		seed = v.Seed
	}
	end := valueHeaderSize + int64(v.Value)
	switch {
	case v.Size < valueHeaderSize, v.Value > kv.MaxValueSizeLimit:
		v.ValueErr = formatError("the header has no possible length of a value")
		return v, nil
	case v.Size < end:
		v.ValueErr = formatError(fmt.Sprintf("the file ends at %d, %d bytes belong to it", v.Size, end))
		return v, nil
	}
	w := window{file: f, end: end, size: scanWindow}
	if v.ValueHas = w.sum(seed, valueHeaderSize, end); v.ValueHas != v.ValueSum {
		v.ValueErr = errValueSum
		if cause := w.cause(0, end); cause != nil {
			v.ValueErr = fmt.Errorf("%w: %w", kv.ErrCorrupt, cause)
		}
	}
	return v, nil
}

// DecodeUnverified decodes the record at the start of b without its checksums, for a reader that
// does not know the store's seed. Key, Headers and Value are the caller's. The error matches
// kv.ErrCorrupt if no record can have these lengths and flags, and kv.ErrVersion for a record of
// a later version.
func DecodeUnverified(b []byte) (r Record, size int, err error) {
	if len(b) < recordFixedSize {
		return Record{}, 0, errRecordShort
	}
	head := headSize(b[recordKind], b[recordFlags], int(le.Uint16(b[recordKeyLen:])))
	if len(b) < head {
		return Record{}, 0, errRecordShort
	}
	// The same record under a seed that is known. Its head says how long it is.
	own := slices.Clone(b[:head])
	le.PutUint64(own[recordHeadSum:], Seed(0).sum(own[recordBodySum:]))
	if _, size, err = Seed(0).DecodeHeader(own); err != nil {
		return Record{}, 0, err
	}
	if len(b) < size {
		return Record{}, 0, errRecordShort
	}
	own = append(own, b[head:size]...)
	le.PutUint64(own[recordBodySum:], Seed(0).sum(own[head:]))
	le.PutUint64(own[recordHeadSum:], Seed(0).sum(own[recordBodySum:head]))
	return Seed(0).DecodeRecord(own)
}
