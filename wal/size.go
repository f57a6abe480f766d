package wal

import (
	"errors"
	"time"

	"kvd/internal/vfs"
)

// The size of the next file follows the load. At the rate at which the current file is
// filled, a whole file of the planned size takes some time: less than quickFill doubles the
// size, less than rapidFill makes it four times as large, and more than slowFill halves it. A
// burst of writes is in large files soon, and an hour of occasional ones does not keep them.
const (
	rapidFill = time.Second
	quickFill = 10 * time.Second
	slowFill  = time.Minute
)

// shouldPlan reports whether it is time to decide the size of the next file, so that a spare
// of that size can be made before the current file is full: an eighth of it is written, and at
// this rate it is full soon, or a half. The spare may be four times as large as the file, and
// the log fills the rest of the file meanwhile.
func (l *Log) shouldPlan() bool {
	switch pos := pageUp(l.pos); {
	case pos > l.file.size/2:
		return true
	case pos-pageSize >= l.file.size/8:
		return l.timeToFill(l.file.size) < float64(quickFill)
	default:
		return false
	}
}

// timeToFill returns how long frames would take to fill a file of that size, nanoseconds, at
// the rate of those in the current file.
func (l *Log) timeToFill(size int64) float64 {
	if l.pos <= pageSize {
		return 0
	}
	return float64(l.now-l.begun) * float64(size) / float64(l.pos-pageSize)
}

// plan decides how large the next file will be. It is called once for each file.
func (l *Log) plan() {
	l.mu.Lock()
	defer l.mu.Unlock()
	size := l.mu.next // not the current file's: it may be smaller for want of a spare
	switch whole := l.timeToFill(size); {
	case whole < float64(rapidFill):
		size *= 4
	case whole < float64(quickFill):
		size *= 2
	case whole > float64(slowFill):
		size = pageUp(size / 2)
	}
	l.planned, l.mu.wanted = true, true
	l.mu.next = min(max(size, l.opts.FirstFileSize), l.opts.FileSize)
}

// sizeFor returns the size of the next file, of which the frames need that many bytes. While a
// spare is being made, it does not have the caller make another one of that size beside it, but
// use one that is there, or make a small one.
func (l *Log) sizeFor(need int64) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.mu.next < need && l.mu.next < l.opts.FileSize {
		l.mu.next = min(2*l.mu.next, l.opts.FileSize)
	}
	size := max(l.mu.next, need)
	if !l.mu.preparing || l.spareLocked(size) >= 0 {
		return size
	}
	size = max(l.opts.FirstFileSize, need)
	for _, f := range l.mu.spares {
		size = max(size, f.size)
	}
	return size
}

// rotate moves to the next file. If the disk has no room for one of that size, it takes a
// smaller one, of at least the bytes that are needed.
func (l *Log) rotate(size, need int64) error {
	for {
		err := l.open(header{number: l.file.number + 1, size: size, prev: l.file.number, after: l.Last(), began: l.file.after})
		if !errors.Is(err, vfs.ErrNoSpace) || size <= max(need, l.opts.FirstFileSize) {
			return err
		}
		size = max(need, l.halve(size))
	}
}

// halve makes the next file half as large as size, which the disk has no room for, and returns
// the size.
func (l *Log) halve(size int64) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.next = max(min(pageUp(size/2), l.opts.FileSize), l.opts.FirstFileSize)
	return l.mu.next
}

// Oversized reports whether the current file or a spare is larger than the files with which a
// log begins.
func (l *Log) Oversized() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.mu.spares {
		if f.size > l.opts.FirstFileSize {
			return true
		}
	}
	return l.file != nil && l.file.size > l.opts.FirstFileSize
}

// Shrink makes every frame durable and moves to a file of the size with which a log begins.
// The next Recycle removes the larger spares, and the larger files whose frames it releases. An
// error that matches vfs.ErrNoSpace is a refusal, as in Reserve; after it Recycle may make the
// room for another try. Any other error breaks the log.
func (l *Log) Shrink() error {
	if err := l.Sync(); err != nil {
		return err
	}
	l.mu.Lock()
	l.mu.next, l.mu.wanted = l.opts.FirstFileSize, false
	l.mu.Unlock()
	if l.file.size <= l.opts.FirstFileSize {
		return nil
	}
	return l.rotate(l.opts.FirstFileSize, 0)
}
