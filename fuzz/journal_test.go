package fuzz

import (
	"context"
	"fmt"
	"sync"

	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// seen is a record of a bucket that somebody was told of: who wrote it, or a
// watcher.
type seen struct {
	key       string
	operation kv.Operation
	value     string
	expires   bool // it has a time to live of its own
}

// journal is what the outside world knows of a store: every record that was
// acknowledged or delivered. What happens after a power cut is not in it, so
// everything in it has to be there when the store is opened again, and a revision
// in it never names another record.
type journal struct {
	mu      sync.Mutex    // guards the fields below, and those of followers that say so
	dark    bool          // the power is off
	quiet   bool          // nobody writes any more
	off     chan struct{} // closed when it goes off
	done    chan struct{} // closed when the last records are written
	image   *simdisk.Disk // of the disk when it went off
	buckets map[string]*chapter
}

// chapter is the journal of one bucket.
type chapter struct {
	history int
	purges  bool // there are PurgeDeletes, all of which drop markers whatever their age
	expires bool // some keys have a time to live
	trims   bool // the oldest records go
	records map[kv.Revision]seen
	newest  kv.Revision // acknowledged
	forgot  kv.Revision // the newest revision when a PurgeDeletes or a Trim last ended; the largest while one runs
	ended   kv.Revision // the newest revision when any of them ended: two that overlap may tell theirs in either order
	running int         // PurgeDeletes and Trims
	last    kv.Revision // the record that ends the run; 0: there is none yet
	alarms  map[chan struct{}]kv.Revision
}

func newJournal() *journal { return &journal{buckets: map[string]*chapter{}} }

// powerOn begins the time until the next power cut.
func (j *journal) powerOn() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.dark, j.quiet, j.off, j.image = false, false, make(chan struct{}), nil
	j.done = make(chan struct{})
	for _, c := range j.buckets {
		c.running = 0
	}
}

// powerOff takes an image of the disk. Nothing that happens afterwards counts.
func (j *journal) powerOff(disk *simdisk.Disk, seed uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.dark {
		return
	}
	j.image = someCut(disk.Pending(), seed).make(disk)
	j.dark = true
	close(j.off)
}

// wrote notes an acknowledged write.
func (j *journal) wrote(bucket string, rev kv.Revision, s seen) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.dark {
		return nil
	}
	c := j.buckets[bucket]
	c.newest = max(c.newest, rev)
	for alarm, at := range c.alarms {
		if rev >= at {
			close(alarm)
			delete(c.alarms, alarm)
		}
	}
	return c.noteLocked(rev, s)
}

// noteLocked notes a record, unless the same revision was another.
func (c *chapter) noteLocked(rev kv.Revision, s seen) error {
	if known, ok := c.records[rev]; ok && known != s {
		return fmt.Errorf("revision %d is %+v, and was %+v", rev, s, known)
	}
	c.records[rev] = s
	return nil
}

// alarm returns a channel that is closed when the bucket has come to a revision, or
// will not.
func (j *journal) alarm(c *chapter, at kv.Revision) <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	alarm := make(chan struct{})
	if at <= c.newest || j.quiet {
		close(alarm)
		return alarm
	}
	c.alarms[alarm] = at
	return alarm
}

// ring closes all alarms: nobody writes any more.
func (j *journal) ring() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.quiet = true
	for _, c := range j.buckets {
		for alarm := range c.alarms {
			close(alarm)
		}
		clear(c.alarms)
	}
}

// acknowledged returns the newest revision that was.
func (j *journal) acknowledged(c *chapter) kv.Revision {
	j.mu.Lock()
	defer j.mu.Unlock()
	return c.newest
}

// forgets is called before a PurgeDeletes or a Trim, and forgotten after it.
func (j *journal) forgets(c *chapter) {
	j.mu.Lock()
	defer j.mu.Unlock()
	c.running++
	c.forgot = 1 << 62
}

func (j *journal) forgotten(c *chapter, newest kv.Revision) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.dark {
		return
	}
	c.ended = max(c.ended, newest)
	if c.running--; c.running == 0 {
		c.forgot = c.ended
	}
}

// read notes what a bucket holds after a power cut: also what nobody was told of.
func (j *journal) read(ctx context.Context, b kv.Bucket) error {
	w, err := b.Watch(ctx, nil, kv.IncludeHistory())
	if err != nil {
		return err
	}
	defer w.Stop()
	for u := range w.Updates() {
		if u.Entry == nil {
			return nil
		}
		e := u.Entry
		if err := j.wrote(b.Name(), e.Revision, seen{e.Key, e.Operation, string(e.Value), e.Operation == kv.Put && !e.Deadline.IsZero()}); err != nil {
			return err
		}
	}
	return w.Err()
}
