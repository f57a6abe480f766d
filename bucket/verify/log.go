package verify

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"kvd/bucket/journal"
	"kvd/bucket/manifest"
	"kvd/bucket/progress"
	"kvd/kv"
	"kvd/segment"
	"kvd/wal"
)

// checkLog reads the frames that a checkpoint does not cover.
func (v *verification) checkLog() error {
	dir := path.Join(v.dir, manifest.LogDir)
	if _, err := v.fs.Stat(dir); errors.Is(err, fs.ErrNotExist) && v.manifest.State.LogLow == 0 {
		return nil // the first Open did not finish
	}
	log, err := wal.Open(wal.Options{FS: v.fs, Dir: dir, StoreID: v.manifest.Identity.StoreID})
	var corrupt *kv.CorruptError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		v.damaged(&kv.CorruptError{File: dir, Offset: -1, Detail: "the log is missing"})
		return nil
	case errors.As(err, &corrupt):
		v.damaged(corrupt)
		return nil
	case err != nil:
		return err
	}
	meter := progress.Start(StageLog, 0, v.opts.Progress)
	made := make(map[uint64]bool) // ids of the buckets that the log creates
	v.words = v.manifest.State.LogWords
	hole := false // frames are missing: any bucket may have been created in them
	state := &v.manifest.State
	found, err := log.Replay(wal.Wanted{
		From: state.LogLow + 1, Durable: state.Durable(), Closed: state.Clean,
		Frame: func(f wal.Frame) error {
			meter.Add(1)
			v.checkFrame(&f, made, hole)
			return nil
		},
		Hole: func(h wal.Hole) error {
			hole, v.uncounted = true, true
			v.damaged(h.Err)
			return nil
		},
	})
	if err != nil {
		return err
	}
	v.report.Frames, v.report.Torn = found.Frames, found.Torn
	v.report.Bytes += found.Bytes
	v.report.Notes = append(v.report.Notes, found.Notes...)
	return nil
}

// checkFrame checks the records and operations of a frame whose checksum is right.
func (v *verification) checkFrame(f *wal.Frame, made map[uint64]bool, hole bool) {
	v.checkTotals(f)
	for payload := f.Payload; len(payload) > 0; {
		kind, body, rest, err := journal.Next(payload)
		if err == nil {
			err = v.checkItem(f, kind, body, made, hole)
		}
		if err != nil {
			v.damaged(&kv.CorruptError{File: f.File, Offset: f.Offset, Detail: fmt.Sprintf("log frame of LSN %d", f.LSN), Err: err})
			v.uncounted = true
			return
		}
		payload = rest
	}
}

// checkTotals checks the running totals in a frame against the frames before. Behind damage they
// are right, since what was before is not known.
func (v *verification) checkTotals(f *wal.Frame) {
	want, got, uncounted := v.words, f.Words, v.uncounted
	v.words, v.uncounted = got, false
	if !uncounted && (got.Records != want.Records || got.Sum != want.Sum || got.Operations != want.Operations) {
		v.damaged(&kv.CorruptError{File: f.File, Offset: f.Offset, Detail: fmt.Sprintf(
			"log frame of LSN %d counts %d records and %d operations before it, and there are %d and %d, or others", f.LSN,
			got.Records, got.Operations, want.Records, want.Operations)})
	}
}

func (v *verification) checkItem(f *wal.Frame, kind journal.Kind, body []byte, made map[uint64]bool, hole bool) error {
	if kind != journal.Records {
		v.words.Operations++
		op, err := journal.Decode(kind, body)
		if create, ok := op.(*journal.Create); ok {
			made[create.Bucket] = true
		}
		return err
	}
	for at := 0; at < len(body); {
		r, size, err := v.segments.Seed.DecodeRecord(body[at:])
		if err != nil {
			return err
		}
		if err := v.checkLogValue(f, &r); err != nil {
			return err
		}
		// An id up to the highest in the manifest may be that of a deleted bucket.
		if r.BucketID > v.manifest.State.MaxBucketID && !made[r.BucketID] && !hole {
			return fmt.Errorf("record of bucket %d, which nothing made", r.BucketID)
		}
		v.report.LogRecords++
		v.words.Records++
		v.words.Sum += segment.HeadSum(body[at:])
		at += size
	}
	return nil
}

// checkLogValue checks the value of a record of the log. Where the segments have the record already,
// a compaction may have removed its value file since.
func (v *verification) checkLogValue(f *wal.Frame, r *segment.Record) (err error) {
	if r.File.Number == 0 {
		if v.value, err = r.AppendValue(v.value[:0]); err != nil {
			return fmt.Errorf("key %q, revision %d, bucket %d: %w", r.Key, r.Revision, r.BucketID, err)
		}
		return nil
	}
	b := v.manifest.State.Buckets[r.BucketID]
	if b == nil && r.BucketID <= v.manifest.State.MaxBucketID || b != nil && f.LSN <= b.Position {
		return nil // deleted since, or in the segments
	}
	v.addValue(r)
	err = segment.CheckValue(v.segments, r)
	var damage *kv.CorruptError
	if errors.As(err, &damage) {
		v.damaged(damage)
		return nil
	}
	return err
}
