package wal

import (
	"errors"
	"fmt"
)

// ErrMoved is matched by the error of [Log.CheckPlace].
var ErrMoved = errors.New("the open file is not there any more: it or a directory above it was removed or replaced")

// CheckPlace returns an error that matches ErrMoved, and breaks the log, if the path of the
// current file does not name it any more: what is appended would be gone with the process. It
// costs two calls of the file system, and is called by the goroutine that appends. Reserve
// calls it at each rotation. A path that cannot be looked up tells nothing.
func (l *Log) CheckPlace() error {
	if l.broken != nil {
		return l.broken
	}
	if there, err := l.file.IsAt(l.file.path); there || err != nil {
		return nil //nolint:nilerr // see above
	}
	return l.fail(fmt.Errorf("%s: %w", l.file.path, ErrMoved))
}
