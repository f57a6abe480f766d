package bucket

import (
	"slices"

	"kvd/index"
	"kvd/internal/view"
	"kvd/segment"
)

// batches loads entries into the index of a bucket while others are read: where a segment has
// many, a goroutine loads one batch while the next is decoded and hashed. Entries are loaded in
// the order in which they were added. finish has to follow the last of a segment.
type batches struct {
	bucket *Bucket
	batch  *batch // that is filled
	full   chan *batch
	empty  chan *batch
	done   chan struct{} // nil: no goroutine runs, all entries to load are in batch
}

// batchSize is the number of entries that are handed over at once.
const batchSize = 256

// batch is entries of one segment, with keys of their own.
type batch struct {
	segment *openSegment
	entries []segment.Entry
	hashes  []uint64
	keys    []byte
}

// add adds an entry, and copies its key.
func (s *batches) add(e *segment.Entry, sl *openSegment) {
	s.batch.segment = sl
	s.batch.add(e)
	if len(s.batch.entries) < batchSize {
		return
	}
	if s.done == nil {
		s.start()
	}
	s.full <- s.batch
	s.batch = <-s.empty
}

// start starts the goroutine that loads. finish ends it and waits for it.
func (s *batches) start() {
	s.full, s.empty, s.done = make(chan *batch, 1), make(chan *batch, 2), make(chan struct{})
	s.empty <- new(batch)
	go func() {
		defer close(s.done)
		for t := range s.full {
			s.load(t)
			s.empty <- t // one more batch than s.full and this goroutine hold: never blocks
		}
	}()
}

// finish loads what was added.
func (s *batches) finish() {
	if s.done != nil {
		close(s.full)
		<-s.done
		s.done = nil
	}
	s.load(s.batch)
}

// load loads the entries of a batch and empties it.
func (s *batches) load(t *batch) {
	from := 0
	for hashes := range slices.Chunk(t.hashes, index.WarmMax) {
		s.bucket.mu.index.Warm(hashes)
		for i, hash := range hashes {
			s.bucket.load(&t.entries[from+i], hash, t.segment)
		}
		from += len(hashes)
	}
	t.entries, t.hashes, t.keys = t.entries[:0], t.hashes[:0], t.keys[:0]
}

func (t *batch) add(e *segment.Entry) {
	from := len(t.keys)
	t.keys = append(t.keys, e.Key...) // if it moves, the entries before keep the old array
	own := *e
	own.Key = t.keys[from:len(t.keys):len(t.keys)]
	t.entries = append(t.entries, own)
	t.hashes = append(t.hashes, index.Hash(view.String(own.Key)))
}
