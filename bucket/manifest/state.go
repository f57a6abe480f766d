package manifest

import (
	"maps"
	"slices"

	"kvd/kv"
	"kvd/segment"
	"kvd/wal"
)

// State is the content of a manifest: all its edits applied.
type State struct {
	LogLow      wal.LSN   // segments hold every frame up to it: replay begins behind it
	LogWords    wal.Words // of the log's frame behind LogLow
	Clock       int64     // Unix time in ns: no record is younger, and later ones must not be older
	Numbers     uint64    // of segment files: those below it are handed out or left from unfinished work
	MaxBucketID uint64    // the highest id of a bucket that the manifest has or had
	Clean       bool      // the store was closed in good order, and not opened since
	// LostOperations is how many operations of the log damage took. While it is not 0, the
	// set of buckets is in doubt.
	LostOperations uint64
	ValueFiles     bool // there may be value files (package segment), or were
	Buckets        map[uint64]*Bucket
}

// Bucket is the entry of a bucket.
type Bucket struct {
	ID       uint64 // in records and operations
	Life     uint64 // what clients see as the bucket's id: random, 1 to LifeMax
	Created  int64  // Unix time in ns
	Config   kv.Config
	Position wal.LSN     // segments hold every mutation of the bucket up to it
	Next     kv.Revision // the revision of the next mutation
	Keys     uint64      // with a record, as of Position: a hint for the size of the index
	Live     Liveness
	// CompactedEndUpTo is the highest revision of a record that was the newest of its
	// key when compaction removed it: a watch that resumes below it cannot be told of
	// each key that is gone. 0: there is none.
	CompactedEndUpTo kv.Revision
	Skipped          []SkippedRange // ascending
	Doubt            Doubt
	Digest           *kv.Digest // of the live records, as of Position; nil: not known
	Hidden           bool       // it is being imported, as of State.LogLow
	Segments         []Segment  // in ascending order of revisions; the last may be the active one
}

// Segment is the entry of a segment file.
type Segment struct {
	segment.Desc
	RemovedUpTo kv.Revision // the highest revision of a record that compaction left out of it; 0: none
}

// LifeMax is the highest life of a bucket: the highest integer that every reader of
// JSON keeps exactly.
const LifeMax = 1<<53 - 1

// SkippedRange is a range of revisions that readers were told and a crash may have
// taken: those above After and below UpTo. None of them was ever issued again.
type SkippedRange struct{ After, UpTo kv.Revision }

// SkippedMax bounds the skipped ranges of a bucket.
const SkippedMax = 16

// AddSkipped returns the ranges with another one, which is above them. A range that follows the last
// one directly is merged with it. If there are more than SkippedMax, the oldest is given up:
// forgotten is its end then, and a watch that resumes up to there has to be refused. It changes no
// slice in place.
func AddSkipped(ranges []SkippedRange, r SkippedRange) (all []SkippedRange, forgotten kv.Revision) {
	all = slices.Clone(ranges)
	if n := len(all); n > 0 && all[n-1].UpTo == r.After {
		r.After, all = all[n-1].After, all[:n-1]
	}
	if all = append(all, r); len(all) > SkippedMax {
		forgotten, all = all[0].UpTo, all[1:]
	}
	return all, forgotten
}

// SkipTo makes next the revision of the next mutation, which is not below that of before, and records
// those in between as skipped.
func (b *Bucket) SkipTo(next kv.Revision) {
	if next <= b.Next {
		return
	}
	var forgotten kv.Revision
	b.Skipped, forgotten = AddSkipped(b.Skipped, SkippedRange{After: b.Next - 1, UpTo: next - 1})
	b.CompactedEndUpTo = max(b.CompactedEndUpTo, forgotten)
	b.Next = next
}

// NewState returns the state of a store without buckets.
func NewState() State {
	return State{Buckets: make(map[uint64]*Bucket)}
}

// Durable returns the newest LSN that the manifest shows to have been durable: the log was
// synced before a position was written.
func (s *State) Durable() wal.LSN {
	durable := s.LogLow
	for _, b := range s.Buckets {
		durable = max(durable, b.Position)
	}
	return durable
}

// snapshot returns the edit that turns an empty state into s. It shares the buckets.
func (s *State) snapshot() *Edit {
	e := &Edit{LogLow: s.LogLow, LogWords: s.LogWords, Clock: s.Clock, Numbers: s.Numbers, MaxBucketID: s.MaxBucketID, Clean: s.Clean, ValueFiles: s.ValueFiles}
	if s.LostOperations != 0 {
		e.LostOperations = &s.LostOperations
	}
	for _, id := range slices.Sorted(maps.Keys(s.Buckets)) {
		e.Buckets = append(e.Buckets, s.Buckets[id])
	}
	return e
}

// Merge applies an edit, whose buckets it shares.
func (s *State) Merge(e *Edit) {
	if e.LogLow >= s.LogLow && e.LogLow != 0 {
		s.LogLow, s.LogWords = e.LogLow, e.LogWords
	}
	s.Clock = max(s.Clock, e.Clock)
	s.Numbers = max(s.Numbers, e.Numbers)
	s.MaxBucketID = max(s.MaxBucketID, e.MaxBucketID)
	s.Clean = e.Clean
	s.ValueFiles = s.ValueFiles || e.ValueFiles
	if e.LostOperations != nil {
		s.LostOperations = *e.LostOperations
	}
	for _, b := range e.Buckets {
		s.Buckets[b.ID] = b
		s.MaxBucketID = max(s.MaxBucketID, b.ID)
	}
	for _, id := range e.Deleted {
		delete(s.Buckets, id)
	}
}

// apply decodes and applies the body of a manifest record.
func (s *State) apply(body []byte) error {
	e, err := decodeEdit(body)
	if err != nil {
		return err
	}
	s.Merge(e)
	return nil
}
