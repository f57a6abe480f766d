package bucket

import (
	"time"

	"kvd/kv"
)

// Observer receives the commits of a store, for metrics.
type Observer interface {
	// Committed is called once for every group of writes: when it is durable, or with
	// sync=interval when it is written. It is also called once for each sync of such
	// groups alone. The calling goroutine holds the commit path, so Committed must be
	// quick and must not call the store. Calls do not overlap.
	Committed(Commit)
}

// Commit is one group of writes that shared a frame of the log and its sync, or a
// sync alone, which has no records.
type Commit struct {
	Records int           // written; refused writes are not among them
	Expired int           // of Records: markers of keys that expired
	Bytes   int           // of the frame's payload
	Sync    time.Duration // time that making it durable took; 0: a later sync makes it durable
}

// ScrubObserver is an [Observer] that receives the progress of the scrub too.
type ScrubObserver interface {
	// Scrubbed is called after each part that the scrub has read, in its goroutine.
	Scrubbed(Scrub)
}

// Scrub is how far the scrub has come since the store was opened; see Options.Scrub.
type Scrub struct {
	Done, Total int64  // bytes of segments, of the pass under way
	Passes      uint64 // that are complete
	Damages     uint64 // places found damaged, in all passes
}

// CompactionObserver is an [Observer] that receives compactions too.
type CompactionObserver interface {
	// Compacted is called when a compaction has ended, in its goroutine.
	Compacted(Compaction)
}

// Compaction is one compaction: neighbouring segments are replaced by one or none.
type Compaction struct {
	Bucket  string
	Inputs  int              // segments
	Read    int64            // bytes of records and of their index entries
	Written int64            // bytes of the segment that replaces them; 0: there is none
	Freed   int64            // bytes of the inputs less Written; 0 after an error. Negative if few records were removed
	Took    time.Duration    // in total
	Paused  time.Duration    // of Took, waiting so that others have the disk
	Damage  *kv.CorruptError // the first damage of an input; nil: none was met
	Err     error            // why it ended early; nil: it did not
}

// noObserver observes nothing.
type noObserver struct{}

func (noObserver) Committed(Commit) {}
