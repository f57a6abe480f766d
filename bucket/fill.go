package bucket

import (
	"fmt"
	"maps"
	"slices"

	"kvd/bucket/journal"
	"kvd/bucket/manifest"
	"kvd/kv"
	"kvd/segment"
	"kvd/wal"
)

// This file replays what the holes of the log held and the tails still have. A bucket's
// tail is in the order of the log. So a record that only the tail has is replayed right
// before the frame that has the next record of the tail, or behind the last frame.

// fillBefore replays the records that the tails have before those of a frame.
func (e *evidence) fillBefore(g *group, f *wal.Frame) error {
	var records []byte
	for payload := f.Payload; len(payload) > 0; {
		kind, body, rest, err := journal.Next(payload)
		if err != nil {
			return err
		}
		if kind == journal.Records {
			if records, err = e.takeBefore(records, body); err != nil {
				return err
			}
		}
		payload = rest
	}
	return e.replay(g, records, f.LSN)
}

// takeBefore appends the records that the tails have before each of a frame's records.
func (e *evidence) takeBefore(dst, records []byte) ([]byte, error) {
	for at := 0; at < len(records); {
		rec, size, err := e.recovery.store.segments.Seed.DecodeHeader(records[at:])
		if err != nil {
			return dst, err
		}
		b := e.bucket(rec.BucketID)
		dst = b.takeUpTo(dst, segment.HeadSum(records[at:]), placeOf(&rec))
		b.done = placeOf(&rec)
		at += size
	}
	return dst, nil
}

// takeUpTo appends the records that the tail has before the one with that checksum, and takes
// them from the tail. If the tail does not have that one, the records before its place.
func (b *bucketEvidence) takeUpTo(dst []byte, sum uint64, at place) []byte {
	for known := b.have[sum]; len(b.fill) > 0; {
		f := b.fill[0]
		if f.sum != sum && !known && !f.place.before(at) {
			break
		}
		dst = b.take(dst)
		if f.sum == sum {
			break
		}
	}
	return dst
}

// take takes the next record from the tail, and appends it if no sound frame has it. A segment
// holds an ascending range, so a record that comes too late is left out: it is no part of the
// log.
func (b *bucketEvidence) take(dst []byte) []byte {
	f := b.fill[0]
	b.fill = b.fill[1:]
	delete(b.have, f.sum)
	late := f.place.before(b.done) || f.place == b.done && !f.place.erase // erases of many keys share a place
	if f.encoded == nil || late {
		return dst
	}
	b.done = f.place
	return append(dst, f.encoded...)
}

// fillRest replays what is left of the tails, behind the last frame.
func (e *evidence) fillRest(g *group, last wal.LSN) error {
	var records []byte
	for _, id := range slices.Sorted(maps.Keys(e.buckets)) {
		b := e.buckets[id]
		for len(b.fill) > 0 {
			records = b.take(records)
		}
	}
	return e.replay(g, records, last)
}

func (e *evidence) replay(g *group, records []byte, lsn wal.LSN) error {
	if len(records) == 0 {
		return nil
	}
	return e.recovery.replayRecords(g, records, lsn)
}

// recoveredHistory is the history of a bucket whose configuration is lost: it keeps
// everything.
const recoveredHistory = kv.MaxHistory

// recoverBucket makes a bucket for records of one whose creation is missing. It is in doubt
// as a whole.
func (r *recovery) recoverBucket(id uint64) *Bucket {
	s := r.store
	name := fmt.Sprintf("recovered-%d", id)
	for n := 2; s.mu.buckets[name] != nil; n++ {
		name = fmt.Sprintf("recovered-%d-%d", id, n)
	}
	config := kv.Config{Bucket: name, History: recoveredHistory}.WithDefaults()
	s.apply(&journal.Create{Bucket: id, Created: s.clock.newest.Load(), Life: s.newLife(), Config: config})
	b := s.byID(id)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.setDoubtLocked(manifest.Doubt{Unknown: true})
	return b
}
