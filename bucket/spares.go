package bucket

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"kvd/internal/vfs"
	"kvd/segment"
)

// spareValues are value files that no record names. Large values are written to them: a new file
// needs a sync of the directory, which several files share here, and an old one has its blocks
// already, which makes the sync of a value twice as fast. They are removed when there are hardly
// any writes, when the disk is full, and at a close; what a crash leaves is scratch. The lock is
// held while files are made and the directory is synced.
type spareValues struct {
	store *Store
	count atomic.Int64 // len(files)

	mu    sync.Mutex
	files []spareValue
	bytes int64 // of files
	made  int   // how many empty files were made the last time
}

// spareValue is a file that is not open.
type spareValue struct {
	number uint64
	size   int64 // bytes
	named  bool  // its name is durable
}

const (
	// sparesMade is how many empty files are made at a time, at most. It is one at first, and
	// doubles until the spares are dropped.
	sparesMade = 8
	// sparesMax bounds the files that wait to be used again. sparesPerLog is how many times as
	// many bytes as the log they may have.
	sparesMax    = 256
	sparesPerLog = 2
)

// take returns the number of a file for a value of that many bytes, whose name is durable. It
// makes files if there are none. An error that vfs.Refuses is a refusal.
func (p *spareValues) take(size int) (number uint64, err error) {
	p.mu.Lock()
	defer p.unlock()
	if len(p.files) == 0 {
		if err := p.makeLocked(); err != nil {
			return 0, err
		}
	}
	best := 0
	for i := range p.files {
		if p.files[i].misfit(size) < p.files[best].misfit(size) {
			best = i
		}
	}
	if !p.files[best].named {
		if err := p.nameLocked(); err != nil {
			return 0, err
		}
	}
	f := p.files[best]
	p.files = append(p.files[:best], p.files[best+1:]...)
	p.bytes -= f.size
	return f.number, nil
}

// misfit says how badly the file suits a value of that many bytes: by the bytes that it lacks, or
// has too many.
func (f *spareValue) misfit(size int) int64 {
	d := f.size - int64(size)
	return max(d, -d)
}

// makeLocked makes empty files, at least one.
func (p *spareValues) makeLocked() error {
	s := p.store
	p.made = max(1, min(2*p.made, sparesMade))
	for range p.made {
		number, err := s.numbers.take()
		if err == nil {
			if err = segment.CreateValueFile(s.segments, number); err != nil {
				s.numbers.giveBack(number)
			}
		}
		if err != nil {
			if len(p.files) > 0 {
				return nil
			}
			return err
		}
		p.files = append(p.files, spareValue{number: number})
	}
	return nil
}

// nameLocked makes the names of all files durable.
func (p *spareValues) nameLocked() error {
	s := p.store
	vfs.Yield()
	if err := s.segmentDir.Sync(); err != nil {
		_ = s.poison(fmt.Errorf("sync %s: %w", s.segments.Dir, vfs.WithoutRefusal(err))) // no mutation is in the log: its outcome is known
		return s.checkFailure()
	}
	for i := range p.files {
		p.files[i].named = true
	}
	return nil
}

// give takes a file that no record names any more, and that nobody reads. If there are enough
// spares, it removes the file in steps, and calls step after each.
func (p *spareValues) give(number uint64, step func()) error {
	if p.keep(number) {
		return nil
	}
	return p.remove(number, step)
}

// remove removes a file in steps, and calls step after each.
func (p *spareValues) remove(number uint64, step func()) error {
	return segment.RemoveValue(p.store.segments, number, step)
}

// keep makes a file a spare, under a new number: an older record may be found that names it under
// its own. It reports whether it did.
func (p *spareValues) keep(number uint64) bool {
	p.mu.Lock()
	defer p.unlock()
	s := p.store
	if len(p.files) >= sparesMax || p.bytes >= sparesPerLog*s.opts.LogMaxSize || s.closed.Load() {
		return false
	}
	to, err := s.numbers.take()
	if err != nil {
		return false
	}
	size, err := segment.ReuseValueFile(s.segments, number, to)
	if err != nil {
		s.numbers.giveBack(to)
		return false // its removal tells why
	}
	p.files = append(p.files, spareValue{number: to, size: size})
	p.bytes += size
	return true
}

// any reports whether there are spares. It does not wait for the lock.
func (p *spareValues) any() bool { return p.count.Load() > 0 }

// unlock ends what was begun with mu.Lock.
func (p *spareValues) unlock() {
	p.count.Store(int64(len(p.files)))
	p.mu.Unlock()
}

// drop removes all spares, and reports whether there were any.
func (p *spareValues) drop() bool {
	p.mu.Lock()
	defer p.unlock()
	s := p.store
	if len(p.files) == 0 || s.checkFailure() != nil {
		return false
	}
	var failed error
	for _, f := range p.files {
		failed = errors.Join(failed, p.remove(f.number, func() {}))
	}
	if failed != nil {
		s.opts.Logger.Warn("files of large values that are not used stay until the next open", "cause", failed)
	}
	p.files, p.bytes, p.made = nil, 0, 0
	return true
}
