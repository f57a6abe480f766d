package bucket

import (
	"fmt"

	"kvd/bucket/journal"
	"kvd/bucket/progress"
	"kvd/index"
	"kvd/internal/view"
	"kvd/kv"
	"kvd/segment"
	"kvd/wal"
)

// This file is the third part of an open: it replays the frames of the log after the
// positions that the manifest has.

// replay applies the frames of the log that the manifest does not cover. It always writes
// their records to the segments, also where reads find them there already: after a failed
// sync a page in the cache can be clean although the disk does not have it.
func (r *recovery) replay() error {
	s := r.store
	meter := progress.Start(StageReplay, 0, s.opts.Progress)
	if r.evidence != nil {
		r.evidence.sealTails()
	}
	found, err := r.log.Replay(r.wanted(func(f wal.Frame) error {
		meter.Add(1)
		return r.replayFrame(f)
	}, r.passHole))
	if err != nil {
		return err
	}
	s.report.Frames = found.Frames
	s.report.Torn = found.Torn
	s.report.Notes = append(s.report.Notes, found.Notes...)
	s.path.replayed = max(s.path.replayed, found.End)
	if r.evidence != nil {
		if err := r.evidence.fillRest(&s.commit.group, s.path.replayed); err != nil {
			return err
		}
		r.evidence.doubts()
	}
	for _, damage := range r.untrue {
		r.readOnly(damage)
	}
	return nil
}

func (r *recovery) replayFrame(f wal.Frame) error {
	r.store.path.replayed = f.LSN
	r.store.clock.raise(f.Time)
	g := &r.store.commit.group
	if r.evidence != nil {
		if err := r.evidence.fillBefore(g, &f); err != nil {
			return err
		}
	}
	r.checkWords(&f)
	for payload := f.Payload; len(payload) > 0; {
		kind, body, rest, err := journal.Next(payload)
		if err == nil {
			if kind == journal.Records {
				err = r.replayRecords(g, body, f.LSN)
			} else {
				err = r.replayOperation(kind, body, f.LSN)
			}
		}
		if err != nil {
			return fmt.Errorf("replay %s at offset %d, LSN %d: %w", f.File, f.Offset, f.LSN, err)
		}
		payload = rest
	}
	r.store.path.totals.add(r.tally)
	return nil
}

// checkWords compares the words of a frame with those that were counted up to it. They
// differ only if the log was changed, or written wrongly.
func (r *recovery) checkWords(f *wal.Frame) {
	r.tally = tally{}
	totals := &r.store.path.totals
	if r.hole {
		r.hole = false
		totals.begin(f.Words)
		return
	}
	if err := totals.check(f.Words); err != nil {
		r.untrue = append(r.untrue, &kv.CorruptError{File: f.File, Offset: f.Offset, Detail: fmt.Sprintf("log frame of LSN %d", f.LSN), Err: err})
		totals.begin(f.Words)
	}
}

// passHole goes on behind a hole. What its frames held is replayed from the tails, if they
// have it.
func (r *recovery) passHole(h wal.Hole) error {
	r.hole = true
	r.store.path.replayed = max(r.store.path.replayed, h.Last)
	if h.AfterKnown {
		r.store.path.totals.begin(h.After)
	}
	return nil
}

func (r *recovery) replayOperation(kind journal.Kind, body []byte, lsn wal.LSN) error {
	op, err := journal.Decode(kind, body)
	if err != nil {
		return err
	}
	r.tally.addOperation(op)
	_, creates := op.(*journal.Create)
	if _, deletes := op.(*journal.Delete); deletes {
		r.deleted[op.BucketID()] = true
	}
	b := r.store.byID(op.BucketID())
	_, reveals := op.(*journal.Reveal)
	switch {
	case creates && (b != nil || op.BucketID() <= r.high): // the first frame made it, or the manifest has it, or it was deleted since
	case reveals && b == nil && r.store.opts.replaying && !r.deleted[op.BucketID()]:
		return errImportUnknown
	case reveals: // the manifest may hide the bucket although its position is behind this frame
		r.store.apply(op)
	case b != nil && lsn <= b.position:
	default:
		r.store.apply(op)
	}
	return nil
}

// replayRecords takes the records of a frame through the second half of the commit path:
// segments and index.
func (r *recovery) replayRecords(g *group, records []byte, lsn wal.LSN) error {
	g.resetEffects()
	g.frame = records
	defer func() {
		g.frame = nil // the log owns the memory
		g.resetEffects()
	}()
	for at := 0; at < len(records); {
		rec, size, err := r.store.segments.Seed.DecodeHeader(records[at:])
		if err != nil {
			return err
		}
		r.tally.addRecord(records[at:], rec.BucketID)
		b, unmade := r.store.byID(rec.BucketID), rec.BucketID > r.high && !r.deleted[rec.BucketID]
		if b == nil && unmade && r.evidence != nil {
			b = r.recoverBucket(rec.BucketID)
		}
		switch {
		case b == nil && unmade:
			return &kv.CorruptError{File: "log", Offset: -1, Detail: fmt.Sprintf("record of bucket %d, which nothing made", rec.BucketID)}
		case b == nil: // deleted since
		case lsn <= b.position: // its segments have the record already
		case r.store.opts.replaying && rec.Revision < b.next: // somebody has changed the frames
			return &kv.CorruptError{File: "log", Offset: -1, Bucket: b.name, Detail: fmt.Sprintf("revision %d follows revision %d", rec.Revision, b.next-1)}
		default:
			g.replayRecord(b, &rec, at, size)
			r.store.report.Records++
		}
		at += size
	}
	if len(g.effects) == 0 {
		return nil
	}
	if err := r.writeSegments(g); err != nil {
		return err
	}
	g.publish()
	return nil
}

// replayRecord replaces judging: the record was decided before it was logged.
func (g *group) replayRecord(b *Bucket, rec *segment.Record, at, size int) {
	e := effect{
		key: view.String(rec.Key), hash: index.Hash(view.String(rec.Key)), floor: rec.Floor, prev: -1, at: at,
		op: rec.Op, first: rec.First, part: g.partOf(b), size: uint32(size), file: rec.File.Number,
		version: index.Version{
			Revision: rec.Revision, Created: rec.Created, Deadline: rec.Deadline, Size: uint32(size) + rec.File.Size,
			Op: kv.Operation(rec.Op), Reason: rec.Reason,
		},
	}
	p := &g.parts[e.part]
	p.size += size
	p.entries += segment.EntryBound(len(rec.Key), rec.File.Number != 0)
	b.next = max(b.next, rec.Revision+1)
	g.store.clock.raise(rec.Created)
	g.addEffect(&e)
}

// writeSegments reserves room in the segments and writes the records to them, one bucket after
// another: a frame may have records of more buckets than files may be open now. Recovery may
// spend the reserve of the disk.
func (r *recovery) writeSegments(g *group) error {
	s := r.store
	for i := range g.parts {
		p := &g.parts[i]
		err := s.withReserve(func() error { return p.bucket.reserve(int64(p.size), int64(p.entries)) })
		if err == nil {
			err = g.writePart(i)
		}
		s.endUses(0)
		if err != nil {
			return err
		}
	}
	g.setPlaces()
	return nil
}
