package dump

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"

	"kvd/bucket/journal"
	"kvd/bucket/manifest"
	"kvd/kv"
	"kvd/segment"
	"kvd/wal"
)

// learn reads what counts: the manifest, the entries of the segments that it names, and the frames
// of the log that an open replays.
func (r *reader) learn() error {
	found, err := manifest.Load(r.fs, r.dir)
	switch {
	case errors.Is(err, kv.ErrCorrupt):
		return r.learnSeed() // the files tell why
	case err != nil:
		return err
	case found.Best == nil:
		return r.refuseOthers()
	}
	r.state, r.storeID = &found.Best.State, found.Best.Identity.StoreID
	if r.seed == 0 {
		r.seed = segment.Seed(found.Best.Identity.Seed)
	}
	for _, id := range slices.Sorted(maps.Keys(r.state.Buckets)) {
		b := r.state.Buckets[id]
		l := newLife(b.ID, b.Config.Bucket)
		l.position, l.rules, l.hidden = b.Position, b.Live, b.Hidden
		r.lives[b.ID] = l
		for i := range b.Segments { // in the order of revisions; their numbers have another one
			n := &namedSegment{b.Segments[i], b}
			r.named[n.Number] = n
			if err := r.learnSegment(n); err != nil {
				return err
			}
		}
	}
	return r.learnLog()
}

// refuseOthers returns an error unless the directory has files of a store, whose manifest is gone.
func (r *reader) refuseOthers() error {
	for _, dir := range []string{manifest.SegmentDir, manifest.LogDir} {
		if files, err := r.list(dir); err != nil || len(files) > 0 {
			return errors.Join(err, r.learnSeed())
		}
	}
	return fmt.Errorf("%w: it has no manifest, no log and no segments", kv.ErrNotStore)
}

// learnSeed takes the seed from the header of a segment.
func (r *reader) learnSeed() error {
	files, err := r.list(manifest.SegmentDir)
	if err != nil {
		return err
	}
	for _, file := range files {
		if path.Ext(file) != ".seg" || r.seed != 0 {
			continue
		}
		_ = segment.Inspect(r.fs, file, segment.FileHeader{}, segment.Inspection{Header: func(h *segment.FileHeader) error {
			if h.Err == nil {
				r.seed = h.Seed
			}
			return errEnough
		}}) // what cannot be read here is told later
	}
	return nil
}

// errEnough ends an inspection early.
var errEnough = errors.New("enough")

// learnSegment reads the entries of a segment.
func (r *reader) learnSegment(n *namedSegment) error {
	name := n.bucket.Config.Bucket
	if !r.opts.wantsBucket(name) {
		return nil
	}
	file := path.Join(r.dir, manifest.SegmentDir, segment.FileName(n.Number))
	lost := func(text string) {
		r.missing[n.Number] = Item{File: file, Offset: -1, Kind: KindHole, Text: text}
	}
	o := segment.Options{FS: r.fs, Dir: path.Dir(file), Seed: r.seed, StoreID: r.storeID, Bucket: name}
	seg, err := segment.Open(o, n.Desc)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		lost(fmt.Sprintf("segment %d of bucket %q is missing, with %d records", n.Number, name, n.Records))
		return nil
	case errors.Is(err, kv.ErrCorrupt):
		lost(err.Error())
		return nil
	case err != nil:
		return err
	}
	defer func() { <-seg.Retire() }() // it has no other user
	l := r.lives[n.bucket.ID]
	err = seg.Entries(func(e *segment.Entry) error {
		if r.opts.wantsRecord(name, e.Key) {
			l.addEntry(e)
		}
		return nil
	}, func(*kv.CorruptError) {}, func(h segment.Hole) {
		h.Err.Bucket = name
		r.missing[n.Number] = Item{File: file, Offset: h.From, Size: h.To - h.From, Kind: KindHole, Text: h.Err.Error()}
	})
	return r.unreadable(file, err)
}

// learnLog reads the frames that an open replays.
func (r *reader) learnLog() error {
	dir := path.Join(r.dir, manifest.LogDir)
	log, err := wal.Open(wal.Options{FS: r.fs, Dir: dir, StoreID: r.storeID})
	if err != nil {
		return r.unreadable(dir, err)
	}
	found, err := log.Replay(wal.Wanted{
		From: r.state.LogLow + 1, Durable: r.state.Durable(), Closed: r.state.Clean,
		Frame: func(f wal.Frame) error {
			r.replayed[framePlace{f.File, f.Offset}] = true
			r.learnFrame(&f)
			return nil
		},
		Hole: func(h wal.Hole) error {
			r.holes = append(r.holes, Item{File: h.Err.File, Offset: h.Err.Offset, Kind: KindHole, Text: h.Err.Error()})
			return nil
		},
	})
	if err != nil {
		return r.unreadable(dir, err)
	}
	if t := found.Torn; t != nil {
		r.holes = append(r.holes, Item{File: t.File, Offset: t.Offset, Kind: KindNote,
			Text: fmt.Sprintf("an unfinished write of LSN %d, which was never acknowledged", t.LSN)})
	}
	for _, note := range found.Notes {
		r.holes = append(r.holes, Item{File: dir, Offset: -1, Kind: KindNote, Text: note})
	}
	return nil
}

// learnFrame learns the records and operations of a frame, up to one that cannot be decoded.
func (r *reader) learnFrame(f *wal.Frame) {
	for payload := f.Payload; len(payload) > 0; {
		kind, body, rest, err := journal.Next(payload)
		if err != nil {
			return
		}
		payload = rest
		if kind != journal.Records {
			if op, err := journal.Decode(kind, body); err == nil {
				r.learnOperation(op, f.LSN)
			}
			continue
		}
		for at := 0; at < len(body); {
			rec, size, err := r.seed.DecodeHeader(body[at:])
			if err != nil {
				break
			}
			if l := r.lives[rec.BucketID]; l != nil && f.LSN > l.position && r.opts.wantsRecord(l.name, rec.Key) {
				l.addRecord(&rec, f.LSN)
			}
			at += size
		}
	}
}

func (r *reader) learnOperation(op journal.Operation, lsn wal.LSN) {
	l := r.lives[op.BucketID()]
	if create, ok := op.(*journal.Create); ok && l == nil && create.Bucket > r.state.MaxBucketID {
		l = newLife(create.Bucket, create.Config.Bucket)
		l.hidden = create.Hidden
		r.lives[create.Bucket] = l
		return
	}
	_, reveals := op.(*journal.Reveal) // the manifest calls a bucket hidden as of its position in the log
	if l != nil && (lsn > l.position || reveals) {
		l.apply(op, lsn)
	}
}

// drain reads everything, and returns why it could not be read.
func drain(r io.Reader) error {
	_, err := io.Copy(io.Discard, r)
	return err
}
