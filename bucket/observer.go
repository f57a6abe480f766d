package bucket

import "time"

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

// nobody observes nothing.
type nobody struct{}

func (nobody) Committed(Commit) {}
