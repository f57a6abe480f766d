package bucket

import (
	"fmt"
	"time"

	"kvd/kv"
	"kvd/segment"
)

// scrubber is the goroutine that reads all segments once in each period, as far as their index
// blocks cover them, a part at a time with pauses in between, so that damage is found while a
// sound copy may still exist. The maintainer starts it if Options.Scrub is set, and stops it.
//
// Each pass reads the segments that are there when it begins. Those that a compaction replaces
// meanwhile are passed by; their records are read in the next pass. The first pass begins at a
// random segment: a store that is restarted often reads all of them in the long run. A segment
// is pinned while one part of it is read, and not during the pauses.
type scrubber struct {
	store  *Store
	quit   <-chan struct{}
	status Scrub
}

const (
	// scrubPart is about how many bytes are read at a time.
	scrubPart = 256 << 10
	// scrubRateMax bounds the bytes a second, also if the period is too short for the store.
	scrubRateMax = 16 << 20
	// scrubEmpty is the pause of a store without segments, as a fraction of the period.
	scrubEmpty = 16
)

// scrubTarget is a segment that a pass is to read.
type scrubTarget struct {
	bucket  *Bucket
	segment *openSegment
	desc    segment.Desc // up to its last index block: what is behind changes
	left    int64        // bytes that were not read yet, of the segment and its value files
}

func (m *maintainer) scrub() {
	c := &scrubber{store: m.store, quit: m.quit}
	for c.pass() {
	}
}

// pass reads every segment once. It returns false if the store is closing.
func (c *scrubber) pass() bool {
	targets := c.targets()
	if len(targets) == 0 {
		return c.wait(c.store.opts.Scrub / scrubEmpty)
	}
	start := 0
	if c.status.Total == 0 { // the first
		start = int(c.store.opts.env.Random() % uint64(len(targets)))
	}
	c.status.Done, c.status.Total = 0, 0
	for _, t := range targets {
		c.status.Total += t.left
	}
	for i := range targets {
		if !c.read(&targets[(start+i)%len(targets)]) {
			return false
		}
	}
	c.status.Passes++
	c.report()
	c.store.opts.Logger.Info("scrub: all segments were read", "bytes", c.status.Total, "damages", c.status.Damages)
	return true
}

// targets returns the segments of all buckets, as far as an index block covers them.
func (c *scrubber) targets() (targets []scrubTarget) {
	for _, b := range c.store.list() {
		if b.memory {
			continue
		}
		b.mu.RLock()
		for _, sl := range b.mu.order {
			if !sl.readable() {
				continue
			}
			if d := sl.Desc(); d.Records > 0 {
				targets = append(targets, scrubTarget{b, sl, d, d.Size + sl.valueBytes})
			}
		}
		b.mu.RUnlock()
	}
	return targets
}

// read reads one segment and its value files. It returns false if the store is closing.
func (c *scrubber) read(t *scrubTarget) bool {
	size := t.desc.Size
	var count segment.Count
	var first *kv.CorruptError
	damaged := func(d *kv.CorruptError) {
		if first == nil {
			first = d
		}
		c.status.Damages++
	}
	for at := int64(0); at < size; {
		if !t.pin() {
			break // replaced
		}
		next, values, err := t.segment.Check(at, size, scrubPart, segment.WithValueFiles, &count, damaged)
		if err != nil {
			damaged(&kv.CorruptError{File: holeFile(t.segment.Number()), Offset: at, Bucket: t.bucket.name, Detail: "unreadable", Err: err})
			next = size
		}
		if next == size && first == nil && count != t.desc.Count() {
			damaged(&kv.CorruptError{File: holeFile(t.segment.Number()), Offset: -1, Bucket: t.bucket.name,
				Detail: fmt.Sprintf("it holds %d records, not %d, or others", count.Records, t.desc.Records)})
		}
		t.segment.Unpin()
		if next == size && first != nil {
			t.bucket.examine(t.segment, first)
		}
		n := min(next-at+values, t.left)
		at = next
		t.left -= n
		c.status.Done += n
		c.report()
		if !c.wait(c.pause(n)) {
			return false
		}
	}
	c.status.Done += t.left
	return true
}

// pin pins the segment, unless it was replaced or its bucket deleted.
func (t *scrubTarget) pin() bool {
	t.bucket.mu.RLock()
	defer t.bucket.mu.RUnlock()
	if t.bucket.mu.gone != nil || !t.segment.readable() {
		return false
	}
	t.segment.Pin()
	return true
}

// pause returns how long to wait after n bytes.
func (c *scrubber) pause(n int64) time.Duration {
	share := float64(n) / float64(max(c.status.Total, 1))
	return max(time.Duration(share*float64(c.store.opts.Scrub)), time.Duration(n)*time.Second/scrubRateMax)
}

// wait waits for d. It returns false if the store is closing.
func (c *scrubber) wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.quit:
		return false
	}
}

func (c *scrubber) report() {
	if o, ok := c.store.opts.Observer.(ScrubObserver); ok {
		o.Scrubbed(c.status)
	}
}
