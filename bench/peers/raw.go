//go:build linux

package main

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"kvd/bench/workload"
)

var rawPeer = workload.Peer{
	Name: "raw", Kind: workload.Embedded, Open: openRaw, PutOnly: true,
	Version: func() (string, error) { return "a limit, not a store", nil },
}

const (
	rawFileSize = 16 << 20
	rawPage     = 4096
	// rawWait is how long a leader waits at most for as many callers as it had the last time.
	rawWait = 40 * time.Microsecond
)

// raw is a bare group commit: what waits is written over old bytes of a file with one write
// and one sync. The first caller of a group leads it.
type raw struct {
	file   *os.File
	offset int64 // the leader's

	mu      sync.Mutex // guards the fields below
	waiting *rawGroup  // joined by callers
	leading bool       // a group is being written
	last    int        // callers of the group before
}

type rawGroup struct {
	bytes   []byte
	callers int
	err     error
	lead    chan struct{} // receives when one of the callers is to lead
	done    chan struct{} // closed when the group is on the disk
}

func newRawGroup() *rawGroup {
	return &rawGroup{lead: make(chan struct{}, 1), done: make(chan struct{})}
}

func openRaw(dir string) (workload.Engine, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.Create(filepath.Join(dir, "raw"))
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(make([]byte, rawFileSize)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &raw{file: f, waiting: newRawGroup()}, f.Sync()
}

func (r *raw) Put(key string, value []byte) error {
	r.mu.Lock()
	g := r.waiting
	g.bytes = append(append(g.bytes, key...), value...)
	g.callers++
	follow := r.leading
	r.leading = true
	r.mu.Unlock()
	if follow {
		select {
		case <-g.done:
			return g.err
		case <-g.lead:
		}
	}
	r.commit(g)
	return g.err
}

// commit writes a group and has the next one led.
func (r *raw) commit(g *rawGroup) {
	r.gather(g)
	size := (len(g.bytes) + rawPage - 1) / rawPage * rawPage
	g.bytes = append(g.bytes, make([]byte, size-len(g.bytes))...)
	if r.offset+int64(size) > rawFileSize {
		r.offset = 0
	}
	if _, g.err = r.file.WriteAt(g.bytes, r.offset); g.err == nil {
		g.err = unix.Fdatasync(int(r.file.Fd()))
	}
	r.offset += int64(size)
	r.mu.Lock()
	r.last = g.callers
	if r.waiting.callers > 0 {
		r.waiting.lead <- struct{}{}
	} else {
		r.leading = false
	}
	r.mu.Unlock()
	close(g.done)
}

// gather waits a little for callers and closes the group to them.
func (r *raw) gather(g *rawGroup) {
	for start := time.Now(); ; runtime.Gosched() {
		r.mu.Lock()
		if g.callers >= r.last || time.Since(start) > rawWait {
			r.waiting = newRawGroup()
			r.mu.Unlock()
			return
		}
		r.mu.Unlock()
	}
}

func (r *raw) PutAll([]string, [][]byte) error { return errors.ErrUnsupported }
func (r *raw) Get(string) ([]byte, error)      { return nil, errors.ErrUnsupported }
func (r *raw) Keys(func(key []byte)) error     { return errors.ErrUnsupported }
func (r *raw) Close() error                    { return r.file.Close() }
