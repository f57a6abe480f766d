package vfs

import (
	"errors"
	"io"
	"io/fs"
	"math"
	"syscall"
)

// PathError returns an error with the operation and the path, in the form of package
// os, and nil for nil. The error of a full disk then matches [ErrNoSpace]. All
// implementations of [FS] report errors through it, so that a test can compare them.
func PathError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return mark(&fs.PathError{Op: op, Path: path, Err: err})
}

// mark makes the error of a full disk match ErrNoSpace, whatever call returned it.
func mark(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return &noSpaceError{err}
	}
	return err
}

// noSpaceError matches ErrNoSpace in addition to the error that it wraps. It is a
// type of its own because wrapping both with %w would repeat the text "no space left
// on device".
type noSpaceError struct{ err error }

func (e *noSpaceError) Error() string        { return e.err.Error() }
func (e *noSpaceError) Unwrap() error        { return e.err }
func (e *noSpaceError) Is(target error) bool { return target == ErrNoSpace }

// ValidRange reports whether [File.Allocate] accepts [off, off+n): it is neither
// negative nor empty, and its end is an int64. It is for implementations of [FS].
func ValidRange(off, n int64) bool { return off >= 0 && n > 0 && off <= math.MaxInt64-n }

// WithoutNoSpace returns an error with the text of err that does not match
// [ErrNoSpace]. It returns other errors unchanged. It is for calls that must not be
// tried again, so that nobody takes their error for a full disk found before anything
// happened. For instance, a sync can fail for want of space where a file system
// assigns blocks late. Like every failed sync it leaves pages that a second sync would
// report as durable.
func WithoutNoSpace(err error) error {
	if errors.Is(err, ErrNoSpace) {
		return errors.New(err.Error())
	}
	return err
}

// RefusesWrites reports whether an error says that the file system or the file may
// not be written to: it is mounted read-only, or permission is missing.
func RefusesWrites(err error) bool {
	return errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM)
}
