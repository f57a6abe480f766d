package bucket

import (
	"time"

	"kvd/kv"
)

// Observer is told what the commit path does, for metrics.
type Observer interface {
	// Committed is called once for every group of writes that was made durable, or
	// that is visible before it is (sync=interval), and once for a sync of such
	// groups alone: by the goroutine that leads or syncs, while it holds the commit
	// path. It must be quick and must not call the store.
	Committed(Commit)
}

// Commit is one group of writes that shared a frame of the log and its sync, or a
// sync alone, which has no records.
type Commit struct {
	Records int           // written; refused writes are not among them
	Expired int           // of Records: markers of keys that expired
	Bytes   int           // of the frame's payload
	Sync    time.Duration // how long making it durable took; 0: a later sync does
}

// CompactionObserver is an [Observer] that is told of compactions too.
type CompactionObserver interface {
	// Compacted is called when one has ended, by its goroutine.
	Compacted(Compaction)
}

// Compaction is one run of it: some neighbouring segments replaced by one.
type Compaction struct {
	Bucket  string
	Inputs  int              // segments
	Read    int64            // bytes of records and of their index entries
	Written int64            // bytes of the segment that replaces them; 0: nothing stayed
	Freed   int64            // bytes of the inputs beyond those; 0 after an error. Negative where little went
	Took    time.Duration    // all in all
	Paused  time.Duration    // of that, leaving the disk to others
	Damage  *kv.CorruptError // why it was given up, where an input is damaged: that stays as it is
	Err     error            // why it was given up; nil: it was not
}

// noObserver observes nothing.
type noObserver struct{}

func (noObserver) Committed(Commit) {}
