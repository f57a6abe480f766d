package vfs

import (
	"errors"
	"io"
	"io/fs"
	"math"
	"syscall"
)

// PathError words an error as package os does, with the operation and the path,
// and returns nil for nil. An error of a full disk then matches [ErrNoSpace]. It is
// for implementations of [FS]: all of them report through it, so that a test can
// compare them.
func PathError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return mark(&fs.PathError{Op: op, Path: path, Err: err})
}

// mark makes an error of a full disk match ErrNoSpace, whichever call met it.
func mark(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return &noSpaceError{err}
	}
	return err
}

// noSpaceError matches ErrNoSpace besides what it wraps. A type of its own,
// because wrapping both with %w would say "no space left on device" twice.
type noSpaceError struct{ err error }

func (e *noSpaceError) Error() string        { return e.err.Error() }
func (e *noSpaceError) Unwrap() error        { return e.err }
func (e *noSpaceError) Is(target error) bool { return target == ErrNoSpace }

// ValidRange reports whether [off, off+n) is a range that [File.Allocate] takes:
// neither negative nor empty, and its end is an int64. It is for implementations
// of [FS].
func ValidRange(off, n int64) bool { return off >= 0 && n > 0 && off <= math.MaxInt64-n }

// WithoutNoSpace returns an error with the text of err that does not match
// [ErrNoSpace], and other errors as they are. It is for calls after which nothing
// may be tried again, and keeps their errors from passing for a full disk that was
// met before anything happened: a sync can fail for want of space, where a file
// system assigns blocks late, and like every failed sync it leaves pages behind
// that a second one would call durable.
func WithoutNoSpace(err error) error {
	if errors.Is(err, ErrNoSpace) {
		return errors.New(err.Error())
	}
	return err
}
