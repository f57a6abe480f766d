package blob

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

// Store is a place for objects. All methods are safe for concurrent use. Their errors are of type
// *[Error], or that of the context.
type Store interface {
	// Put stores an object, durably, if there is none of that name. The error matches [ErrExists] if
	// there is one with other bytes. The data stays the caller's, who must not change it before the
	// call returns.
	Put(ctx context.Context, name string, data []byte) error

	// GetRange returns length bytes of an object, from offset on. They belong to the caller. The error
	// matches [ErrNotFound] if there is no such object, and [ErrRange] if it has fewer bytes.
	GetRange(ctx context.Context, name string, offset, length int64) ([]byte, error)

	// List returns the objects whose names begin with prefix, ascending by name. The prefix is empty or
	// ends with a slash. What a service has under other names is left out.
	List(ctx context.Context, prefix string) ([]Info, error)

	// Delete removes an object, durably. There need not be one.
	Delete(ctx context.Context, name string) error

	// Stat describes an object. The error matches [ErrNotFound] if there is none.
	Stat(ctx context.Context, name string) (Info, error)

	// String names the place for people. It holds no secret.
	String() string
}

// Info describes an object.
type Info struct {
	Name     string
	Size     int64     // bytes
	Modified time.Time // by the clock of the place
}

// SizeMax is the largest size of an object, bytes.
const SizeMax = 128 << 20

// ListMax is how many objects a list has at most.
const ListMax = 20_000_000

// Errors that callers branch on.
var (
	ErrExists      = errors.New("object exists, with other bytes")
	ErrNotFound    = fmt.Errorf("object not found: %w", fs.ErrNotExist)
	ErrRange       = errors.New("object is shorter")
	ErrDenied      = fmt.Errorf("access denied: %w", fs.ErrPermission)
	ErrUnavailable = errors.New("unavailable") // a later attempt may succeed
	ErrInvalidName = errors.New("invalid object name")
	ErrTooLarge    = errors.New("object too large")
)

// Error says which call failed on which object.
type Error struct {
	Op    string // "put", "get", "list", "delete" or "stat"
	Place string // as [Store.String] has it
	Name  string // of the object, or the prefix of a list
	Err   error  // matches one of the errors above, or is the system's
}

func (e *Error) Error() string {
	if e.Name == "" {
		return fmt.Sprintf("%s %s: %v", e.Op, e.Place, e.Err)
	}
	return fmt.Sprintf("%s %q in %s: %v", e.Op, e.Name, e.Place, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

const (
	nameMax    = 512
	elementMax = 128
)

// CheckName returns an error that matches ErrInvalidName if no object can have the name.
func CheckName(name string) error {
	if len(name) > nameMax {
		return fmt.Errorf("%w: it has %d bytes, at most %d are allowed", ErrInvalidName, len(name), nameMax)
	}
	for element := range strings.SplitSeq(name, "/") {
		if element == "" || element[0] == '.' || len(element) > elementMax || strings.ContainsFunc(element, notOfName) {
			return fmt.Errorf("%w %q", ErrInvalidName, name)
		}
	}
	return nil
}

// ValidName reports whether an object can have the name.
func ValidName(name string) bool { return CheckName(name) == nil }

func notOfName(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '.', r == '_', r == '-':
		return false
	}
	return true
}

// CheckPrefix returns an error that matches ErrInvalidName if [Store.List] does not take the prefix.
func CheckPrefix(prefix string) error {
	if prefix == "" {
		return nil
	}
	dir, ok := strings.CutSuffix(prefix, "/")
	if !ok {
		return fmt.Errorf("%w: the prefix %q does not end with a slash", ErrInvalidName, prefix)
	}
	return CheckName(dir)
}

// CheckPut returns the error of a Put that no store accepts, or nil.
func CheckPut(name string, data []byte) error {
	if len(data) > SizeMax {
		return fmt.Errorf("%w: it has %d bytes, at most %d are allowed", ErrTooLarge, len(data), SizeMax)
	}
	return CheckName(name)
}

// CheckRange returns the error of a GetRange that no store accepts, or nil.
func CheckRange(name string, offset, length int64) error {
	switch {
	case offset < 0 || length < 0 || offset > SizeMax:
		return fmt.Errorf("%w than %d bytes from offset %d", ErrRange, length, offset)
	case length > SizeMax:
		return fmt.Errorf("%w: %d bytes, at most %d can be read at once", ErrTooLarge, length, SizeMax)
	}
	return CheckName(name)
}

// Get returns a whole object, if it has at most sizeMax bytes; otherwise the error matches
// [ErrTooLarge].
func Get(ctx context.Context, s Store, name string, sizeMax int64) ([]byte, error) {
	info, err := s.Stat(ctx, name)
	if err != nil {
		return nil, err
	}
	if info.Size > sizeMax {
		return nil, &Error{"get", s.String(), name, fmt.Errorf("%w: it has %d bytes, at most %d are allowed", ErrTooLarge, info.Size, sizeMax)}
	}
	return s.GetRange(ctx, name, 0, info.Size)
}
