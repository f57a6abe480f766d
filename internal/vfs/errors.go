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

// mark makes the error of a full disk match ErrNoSpace, and that of a missing descriptor
// ErrTooManyFiles, whatever call returned it.
func mark(err error) error {
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return err
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return &refusal{err, ErrNoSpace}
	case errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE):
		return &refusal{err, ErrTooManyFiles}
	}
	return err
}

// refusal matches ErrNoSpace or ErrTooManyFiles in addition to the error that it wraps. It is
// a type of its own because wrapping both with %w would repeat their text.
type refusal struct{ err, kind error }

func (e *refusal) Error() string        { return e.err.Error() }
func (e *refusal) Unwrap() error        { return e.err }
func (e *refusal) Is(target error) bool { return target == e.kind }

// Refuses reports whether an error says that a call did nothing for want of disk space or of a
// descriptor. The call may be tried again.
func Refuses(err error) bool {
	return errors.Is(err, ErrNoSpace) || errors.Is(err, ErrTooManyFiles)
}

// ValidRange reports whether [File.Allocate] accepts [off, off+n): it is neither
// negative nor empty, and its end is an int64. It is for implementations of [FS].
func ValidRange(off, n int64) bool { return off >= 0 && n > 0 && off <= math.MaxInt64-n }

// WithoutRefusal returns an error with the text of err that [Refuses] does not
// recognize. It returns other errors unchanged. It is for calls that must not be
// tried again, so that nobody takes their error for a refusal before anything
// happened. For instance, a sync can fail for want of space where a file system
// assigns blocks late. Like every failed sync it leaves pages that a second sync would
// report as durable.
func WithoutRefusal(err error) error {
	if Refuses(err) {
		return errors.New(err.Error())
	}
	return err
}

// RefusesWrites reports whether an error says that the file system or the file may
// not be written to: it is mounted read-only, or permission is missing.
func RefusesWrites(err error) bool {
	return errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM)
}
