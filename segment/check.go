package segment

import (
	"errors"

	"kvd/kv"
)

// Count is the number of records, and the sum of their head checksums mod 2^64.
type Count struct{ Records, Sum uint64 }

// Count returns what a [Segment] with this description holds.
func (d *Desc) Count() Count { return Count{d.Records, d.Sum} }

// CheckFiles says whether a check reads the value files of the records too.
type CheckFiles bool

// The two choices.
const (
	WithValueFiles    CheckFiles = true
	WithoutValueFiles CheckFiles = false
)

// Check reads the part of a segment that begins at an offset, 0 or what an earlier Check
// returned, and verifies all of it, as [Segment.Walk] does: records, index pages, the zeros
// in between, and perhaps the files of values. It reads about most bytes, more where damage or a
// large value goes on, but not beyond to, the Size of a [Desc] of the segment. It returns the
// offset at which the next Check goes on, which is to at the end, and how many bytes of value
// files it has read. It adds the records that it finds to sum, and calls damaged as Walk does.
// The error is the system's of opening a file, or matches kv.ErrVersion. The caller must have a
// pin.
func (s *Segment) Check(from, to, most int64, files CheckFiles, sum *Count, damaged func(*kv.CorruptError)) (next, values int64, err error) {
	file, err := s.openToRead()
	if err != nil {
		return from, 0, err
	}
	defer func() { _ = file.Close() }() // nothing was written
	if from < HeaderSize {
		if _, err := readFileHeader(file); err != nil {
			damaged(s.damage(0, "file header", err))
		}
		from = HeaderSize
	}
	w := s.newWalker(file, s.readable(to), damaged)
	w.size = scanWindow
	stop := from + most
	err = w.walk(from, w.end, func(f *found) error {
		if f.offset+values >= stop {
			next = f.offset
			return errStopped
		}
		if w.checkBody(f); bool(files) && f.valueOK {
			w.checkFile(f)
			values += int64(f.record.File.Size)
		}
		sum.Records++
		sum.Sum += f.headSum
		return nil
	})
	if errors.Is(err, errStopped) {
		return next, values, nil
	}
	if err != nil {
		return from, values, err
	}
	if w.end < to {
		damaged(s.tooShort())
	}
	return to, values, nil
}
