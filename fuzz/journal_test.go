package fuzz

import (
	"context"
	"fmt"
	"sync"

	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// seen is a record that a writer or a watcher knows: the writer got an acknowledgement, or
// the record was delivered to the watcher.
type seen struct {
	key       string
	operation kv.Operation
	value     string
	expires   bool // it has its own time to live
}

// journal has every record of a store that was acknowledged or delivered. It ignores
// everything that happens after a power cut. So each of its records must be there when the
// store is opened again, and no revision in it may name another record.
type journal struct {
	mu       sync.Mutex    // guards the fields below, and the fields of followers that are marked so
	noPower  bool          // the power is off
	finished bool          // all writers are done
	off      chan struct{} // closed when the power goes off
	done     chan struct{} // closed when the last records are written
	image    *simdisk.Disk // of the disk when the power went off
	buckets  map[string]*chapter
}

// chapter is the journal of one bucket.
type chapter struct {
	history     int
	purges      bool // there are calls of PurgeDeletes, which remove all markers regardless of their age
	expires     bool // some keys have a time to live
	trims       bool // the oldest records are trimmed
	records     map[kv.Revision]seen
	newest      kv.Revision // newest acknowledged revision
	removedUpTo kv.Revision // newest revision when a PurgeDeletes or a Trim last ended; the largest possible while one runs
	ended       kv.Revision // newest revision when any of them ended; of two overlapping calls either may end first
	running     int         // number of running PurgeDeletes and Trims
	last        kv.Revision // the record that ends the run; 0: not written yet
	waiters     map[chan struct{}]kv.Revision
}

func newJournal() *journal { return &journal{buckets: map[string]*chapter{}} }

// powerOn begins the time until the next power cut.
func (j *journal) powerOn() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.noPower, j.finished, j.off, j.image = false, false, make(chan struct{}), nil
	j.done = make(chan struct{})
	for _, c := range j.buckets {
		c.running = 0
	}
}

// powerOff takes an image of the disk. Everything that happens afterwards is ignored.
func (j *journal) powerOff(disk *simdisk.Disk, seed uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.noPower {
		return
	}
	j.image = someCut(disk.Pending(), seed).make(disk)
	j.noPower = true
	close(j.off)
}

// wrote records an acknowledged write.
func (j *journal) wrote(bucket string, rev kv.Revision, s seen) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.noPower {
		return nil
	}
	c := j.buckets[bucket]
	c.newest = max(c.newest, rev)
	for reached, at := range c.waiters {
		if rev >= at {
			close(reached)
			delete(c.waiters, reached)
		}
	}
	return c.noteLocked(rev, s)
}

// noteLocked adds a record. It returns an error if the revision had another record.
func (c *chapter) noteLocked(rev kv.Revision, s seen) error {
	if known, ok := c.records[rev]; ok && known != s {
		return fmt.Errorf("revision %d is %+v, and was %+v", rev, s, known)
	}
	c.records[rev] = s
	return nil
}

// reached returns a channel that is closed when the bucket has reached a revision, or when
// it never will.
func (j *journal) reached(c *chapter, at kv.Revision) <-chan struct{} {
	j.mu.Lock()
	defer j.mu.Unlock()
	reached := make(chan struct{})
	if at <= c.newest || j.finished {
		close(reached)
		return reached
	}
	c.waiters[reached] = at
	return reached
}

// wakeAll closes all channels of reached: no more writes will come.
func (j *journal) wakeAll() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.finished = true
	for _, c := range j.buckets {
		for reached := range c.waiters {
			close(reached)
		}
		clear(c.waiters)
	}
}

// acknowledged returns the newest acknowledged revision.
func (j *journal) acknowledged(c *chapter) kv.Revision {
	j.mu.Lock()
	defer j.mu.Unlock()
	return c.newest
}

// forgets is called before a PurgeDeletes or a Trim, forgotten after it.
func (j *journal) forgets(c *chapter) {
	j.mu.Lock()
	defer j.mu.Unlock()
	c.running++
	c.removedUpTo = 1 << 62
}

func (j *journal) forgotten(c *chapter, newest kv.Revision) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.noPower {
		return
	}
	c.ended = max(c.ended, newest)
	if c.running--; c.running == 0 {
		c.removedUpTo = c.ended
	}
}

// read adds the records of a bucket after a power cut, including records that were neither
// acknowledged nor delivered.
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
