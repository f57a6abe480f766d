package bucket

import (
	"fmt"
	"time"

	"kvd/kv"
	"kvd/wal"
)

// Report is what Open found and did. Users must act on Damages and ReadOnly. Both are
// empty after a clean close and after a crash.
type Report struct {
	Created  bool // there was no store: this is a new one
	Buckets  int
	Keys     int           // with any record, in all buckets
	Images   int           // buckets whose index was read from an image: see Options.ImageKeys
	Frames   int           // of the log, replayed
	Records  int           // replayed
	Torn     *wal.TornTail // an unfinished last write of the log, which was discarded: it was never acknowledged; nil: none
	Damages  []*kv.CorruptError
	ReadOnly error // why the store takes no writes; nil: it takes them
	// Discarded names the buckets whose imports were not committed. They are removed.
	Discarded []string
	Scratch   int      // files of unfinished work removed
	Strays    []string // files that are not the store's, moved to lost/
	Notes     []string // further facts for operators, a sentence each
	Elapsed   time.Duration
}

// String is the report in one line.
func (r Report) String() string {
	s := fmt.Sprintf("%d buckets, %d keys, %d frames with %d records replayed in %v",
		r.Buckets, r.Keys, r.Frames, r.Records, r.Elapsed.Round(time.Millisecond))
	if r.Created {
		s = "new store"
	}
	if r.Torn != nil {
		s += fmt.Sprintf("; unfinished write dropped at LSN %d (%s, offset %d)", r.Torn.LSN, r.Torn.File, r.Torn.Offset)
	}
	if n := len(r.Discarded); n > 0 {
		s += fmt.Sprintf("; %d unfinished imports removed", n)
	}
	if n := len(r.Damages); n > 0 {
		s += fmt.Sprintf("; damage in %d places, first: %v", n, r.Damages[0])
	}
	if r.ReadOnly != nil {
		s += fmt.Sprintf("; read-only: %v", r.ReadOnly)
	}
	return s
}
