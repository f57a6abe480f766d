package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"

	"kvd/internal/vfs"
	"kvd/kv"
)

// ValueFile says which file has a record's value. In the zero value the record itself has it.
type ValueFile struct {
	Number uint64 // of the file
	Size   uint32 // of the value as stored, bytes: ValueFileMin to kv.MaxValueSizeLimit
	Sum    uint64 // checksum of the value as stored
}

// ValueFileMin is the size in bytes of the smallest value that may be in a file of its own. So
// a read of a smaller record need not ask where its value is.
const ValueFileMin = 4096

const valueExtension = ".val"

// ValueFileName returns the name of the value file with that number: 16 hex digits and ".val".
// Segments and value files share their numbers.
func ValueFileName(number uint64) string { return fmt.Sprintf("%016x%s", number, valueExtension) }

// ParseValueFileName returns the number in a name that ValueFileName made. ok is false for any
// other name.
func ParseValueFileName(name string) (number uint64, ok bool) {
	digits, ok := strings.CutSuffix(name, valueExtension)
	if !ok {
		return 0, false
	}
	number, err := strconv.ParseUint(digits, 16, 64)
	return number, err == nil && name == ValueFileName(number)
}

const (
	// valueStep is how much of a value is hashed and written at a time: what was hashed is still
	// in the processor's cache when it is written.
	valueStep = 256 << 10
	// valueBurst is how much of a value is handed to the disk at a time, while the next burst is
	// written to the page cache. At most two are under way, so that a sync of the log that comes
	// meanwhile does not wait for all of a large value.
	valueBurst = 1 << 20
)

// CreateValueFile makes an empty value file. [WriteValue] may write to it once the directory is
// synced. If the error matches vfs.ErrNoSpace or vfs.ErrTooManyFiles, the system has no room or no
// descriptor.
func CreateValueFile(o Options, number uint64) error {
	name := path.Join(o.Dir, ValueFileName(number))
	file, err := o.FS.Open(name, vfs.Create)
	if err == nil {
		err = file.Close()
	}
	if err != nil {
		return fmt.Errorf("segment: create %s: %w", name, err)
	}
	return nil
}

// ReuseValueFile gives a value file that no record names another number. The directory must be
// synced before WriteValue writes to it. It returns the length of the file in bytes.
func ReuseValueFile(o Options, from, to uint64) (size int64, err error) {
	name := path.Join(o.Dir, ValueFileName(from))
	info, err := o.FS.Stat(name)
	if err == nil {
		err = o.FS.Rename(name, path.Join(o.Dir, ValueFileName(to)))
	}
	if err != nil {
		return 0, fmt.Errorf("segment: reuse %s: %w", name, err)
	}
	return info.Size, nil
}

// WriteValue writes a value, as a record stores it, to a value file and syncs the file. No record
// may name the file. Writing over an older value needs no new blocks, which takes half the time;
// a file that is much too long is cut. After an error the content of the file is unknown. The error
// matches vfs.ErrNoSpace or vfs.ErrTooManyFiles if the system has no room or no descriptor.
func WriteValue(o Options, number, bucketID uint64, value []byte) (ValueFile, error) {
	if len(value) < ValueFileMin || len(value) > kv.MaxValueSizeLimit {
		panic(fmt.Sprintf("segment: a value file of %d bytes", len(value)))
	}
	name := path.Join(o.Dir, ValueFileName(number))
	file, err := o.FS.Open(name, vfs.ReadWrite)
	if err != nil {
		return ValueFile{}, fmt.Errorf("segment: write %s: %w", name, err)
	}
	h := valueHeader{
		version: version, storeID: o.StoreID, bucketID: bucketID, number: number, seed: o.Seed,
		size: uint32(len(value)),
	}
	err = cutValue(file, len(value))
	if err == nil {
		h.sum, err = writeValue(file, o.Seed, value)
	}
	if err == nil {
		_, err = file.WriteAt(h.encode(), 0)
	}
	if err == nil {
		vfs.Yield()
		err = file.Sync()
	}
	if err = errors.Join(err, file.Close()); err != nil {
		return ValueFile{}, fmt.Errorf("segment: write %s: %w", name, err)
	}
	return ValueFile{Number: number, Size: h.size, Sum: h.sum}, nil
}

// cutValue cuts a file that is an eighth longer than a value needs it, or more.
func cutValue(file vfs.File, value int) error {
	want := valueHeaderSize + int64(value)
	size, err := file.Size()
	if err == nil && size > want+want/8 {
		err = file.Truncate(want)
	}
	return err
}

// writeValue writes the value behind the header's place, and returns its checksum.
func writeValue(file vfs.File, seed Seed, value []byte) (sum uint64, err error) {
	var d xxhash.Digest
	d.ResetWithSeed(uint64(seed))
	offset, begun, before := int64(valueHeaderSize), int64(valueHeaderSize), int64(0)
	for part := range slices.Chunk(value, valueStep) {
		_, _ = d.Write(part)
		vfs.Yield()
		if _, err := file.WriteAt(part, offset); err != nil {
			return 0, err
		}
		offset += int64(len(part))
		if n := offset - begun; n >= valueBurst {
			err := file.WriteBack(begun, n, false)
			if before > 0 && err == nil {
				vfs.Yield()
				err = file.WriteBack(begun-before, before, true)
			}
			if err != nil {
				return 0, err
			}
			begun, before = offset, n
		}
	}
	return d.Sum64(), nil
}

// RemoveValue removes a value file, in steps as [Remove] does. No record that anybody may read
// names it.
func RemoveValue(o Options, number uint64, step func()) error {
	return removeFile(o.FS, path.Join(o.Dir, ValueFileName(number)), step)
}

// openValue opens the value file of a record. The error is the system's, or a
// *kv.CorruptError if there is no such file or if it is too short.
func (s *Segment) openValue(f ValueFile) (vfs.File, error) {
	name := s.valuePath(f)
	file, err := s.fs.Open(name, vfs.ReadOnly)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &kv.CorruptError{File: name, Offset: -1, Detail: "the file of the value is missing"}
	}
	if err != nil {
		return nil, fmt.Errorf("segment: open %s: %w", name, err)
	}
	size, err := file.Size()
	if want := ValueFileBytes(f.Size); err == nil && size < want {
		err = &kv.CorruptError{File: name, Offset: size, Detail: fmt.Sprintf("the file ends here, %d bytes belong to it", want)}
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

func (s *Segment) valuePath(f ValueFile) string {
	return path.Join(path.Dir(s.path), ValueFileName(f.Number))
}

// appendValue appends the value of a record, as stored, to dst. It verifies the checksum. The
// error is a *kv.CorruptError, or the system's of opening the file; then dst is returned.
func (s *Segment) appendValue(dst []byte, f ValueFile) ([]byte, error) {
	if s.reads != nil {
		s.reads <- struct{}{}
		defer s.readEnded()
	}
	file, err := s.openValue(f)
	if err != nil {
		return dst, err
	}
	defer func() { _ = file.Close() }() // nothing was written
	start := len(dst)
	buf := slices.Grow(dst, int(f.Size))[:start+int(f.Size)]
	if err := readFull(file, buf[start:], valueHeaderSize); err != nil {
		return dst, s.valueDamage(f, err)
	}
	if s.seed.sum(buf[start:]) != f.Sum {
		return dst, s.valueDamage(f, errValueSum)
	}
	return buf, nil
}

// valueDamage returns an error for damage to a value.
func (s *Segment) valueDamage(f ValueFile, err error) *kv.CorruptError {
	var format formatError
	if errors.As(err, &format) {
		err = nil
	} else {
		format = "the value cannot be read"
	}
	return &kv.CorruptError{File: s.valuePath(f), Offset: valueHeaderSize, Detail: string(format), Err: err}
}

// ofRecord adds to the error of a damaged value whose it is.
func (s *Segment) ofRecord(d *kv.CorruptError, key string, revision kv.Revision) *kv.CorruptError {
	d.Detail = fmt.Sprintf("key %q, revision %d, %s: %s", key, revision, s.bucket, d.Detail)
	return d
}

// recordSize returns how many of the bytes of a record with its value are in the segment. It
// verifies nothing: what it looked at is read again and verified. Its errors are those of Read.
func (s *Segment) recordSize(scratch []byte, offset int64, size uint32, key string, revision kv.Revision) (uint32, error) {
	if size < ValueFileMin {
		return size, nil
	}
	fixed := slices.Grow(scratch, recordFixedSize)[len(scratch):][:recordFixedSize]
	if err := s.readAt(fixed, offset, key, revision); err != nil {
		return 0, err
	}
	if fixed[recordFlags]&flagFile == 0 {
		return size, nil
	}
	return size - min(size, le.Uint32(fixed[recordValueLen:])), nil
}

// CheckValue verifies header and value of the file that has the value of a record. It returns nil
// for a record that has its value itself. Damage is a *kv.CorruptError that names bucket, key and
// revision; the error matches kv.ErrVersion for a file of a later version, and is otherwise the
// system's, of opening the file.
func CheckValue(o Options, r *Record) error {
	if r.File.Number == 0 {
		return nil
	}
	s := newSegment(&o, Desc{BucketID: r.BucketID})
	return s.valueError(s.checkValueFile(r.File, r.BucketID), string(r.Key), r.Revision)
}

// ReadValueFile returns the value of a record that a file has, as stored. The caller owns it. The
// error is a *kv.CorruptError that names bucket, key and revision, or the system's, of opening the
// file.
func ReadValueFile(o Options, r *Record) ([]byte, error) {
	s := newSegment(&o, Desc{BucketID: r.BucketID})
	value, err := s.appendValue(nil, r.File)
	if err != nil {
		return nil, s.valueError(err, string(r.Key), r.Revision)
	}
	return value, nil
}

// checkValueFile verifies header and value of a value file, a window at a time.
func (s *Segment) checkValueFile(f ValueFile, bucketID uint64) error {
	if s.reads != nil {
		s.reads <- struct{}{}
		defer s.readEnded()
	}
	file, err := s.openValue(f)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // nothing was written
	want := valueHeader{
		version: version, storeID: s.storeID, bucketID: bucketID, number: f.Number, seed: s.seed,
		size: f.Size, sum: f.Sum,
	}
	var page [valueHeaderSize]byte
	if err := readFull(file, page[:], 0); err != nil {
		return s.valueDamage(f, err)
	}
	switch h, err := decodeValueHeader(page[:]); {
	case errors.Is(err, kv.ErrCorrupt):
		return s.valueDamage(f, err)
	case err != nil:
		return fmt.Errorf("segment: read %s: %w", s.valuePath(f), err)
	case h != want:
		return s.valueDamage(f, errValueOther)
	}
	end := valueHeaderSize + int64(f.Size)
	w := window{file: file, end: end, size: scanWindow}
	if sum := w.sum(s.seed, valueHeaderSize, end); sum != f.Sum {
		if cause := w.cause(0, end); cause != nil {
			return s.valueDamage(f, cause)
		}
		return s.valueDamage(f, errValueSum)
	}
	return nil
}
