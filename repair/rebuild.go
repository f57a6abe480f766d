package repair

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"time"

	"kvd/bucket/journal"
	"kvd/bucket/manifest"
	"kvd/kv"
	"kvd/segment"
	"kvd/wal"
)

// rebuilding makes a manifest from what the segments and the log say. Lost with the manifest are the
// rules of liveness, but those that the log still has; the number of records in the last pages of
// a segment; the names and configurations of buckets, unless the log has them.
type rebuilding struct {
	source   *source
	found    func(*Finding) error
	identity manifest.Identity
	segments map[uint64][]*segmentFile // by bucket
	state    manifest.State
	log      logContent
}

// rebuild makes a manifest, in memory.
func (s *source) rebuild(found func(*Finding) error) error {
	r := rebuilding{source: s, found: found, segments: make(map[uint64][]*segmentFile), state: manifest.NewState()}
	for _, step := range []func() error{r.identify, r.readSegments, r.readLog, r.makeBuckets} {
		if err := step(); err != nil {
			return err
		}
	}
	w, err := manifest.Rewrite(s.fs, s.dir, r.identity, 1<<32, &r.state) // above every generation that is there
	if err != nil {
		return err
	}
	s.clock = time.Unix(0, r.state.Clock)
	s.rebuilt = make(map[string]bool)
	for _, b := range r.state.Buckets {
		s.rebuilt[b.Config.Bucket] = true
	}
	w.Close()
	return nil
}

// options are those of the segments in the damaged store.
func (r *rebuilding) options() segment.Options {
	return segment.Options{
		FS: r.source.fs, Dir: path.Join(r.source.dir, manifest.SegmentDir),
		Seed: segment.Seed(r.identity.Seed), StoreID: r.identity.StoreID,
	}
}

// list returns the paths of the files with an extension in a directory of the store.
func (r *rebuilding) list(dir, extension string) (files []string) {
	entries, err := r.source.fs.List(path.Join(r.source.dir, dir))
	if err != nil {
		return nil // what is not there has nothing
	}
	for _, e := range entries {
		if path.Ext(e.Name) == extension {
			files = append(files, path.Join(r.source.dir, dir, e.Name))
		}
	}
	return files
}

// identify finds the store's id and seed: in the header of a manifest, or in those of the segments,
// of which most decide.
func (r *rebuilding) identify() error {
	for _, name := range manifest.Names {
		in, err := manifest.Inspect(r.source.fs, path.Join(r.source.dir, name), func(*manifest.Record) error { return nil })
		if err == nil && in.Err == nil {
			r.identity = in.Header.Identity
			return nil
		}
	}
	votes := make(map[manifest.Identity]int)
	for _, file := range r.list(manifest.SegmentDir, ".seg") {
		if h, ok := r.header(file); ok {
			votes[manifest.Identity{StoreID: h.StoreID, Seed: uint64(h.Seed)}]++
		}
	}
	most := 0
	for id, n := range votes {
		if n > most {
			r.identity, most = id, n
		}
	}
	if most == 0 {
		return fmt.Errorf("%w: no manifest and no segment says which seed the checksums of the store have", kv.ErrCorrupt)
	}
	return nil
}

// header returns the header of a segment, if it is sound.
func (r *rebuilding) header(file string) (h segment.FileHeader, ok bool) {
	err := segment.Inspect(r.source.fs, file, segment.FileHeader{}, segment.Inspection{Header: func(found *segment.FileHeader) error {
		h = *found
		return errEnough
	}})
	return h, errors.Is(err, errEnough) && h.Err == nil
}

var errEnough = errors.New("enough")

// readSegments reads all segments of the store.
func (r *rebuilding) readSegments() error {
	for _, ext := range []string{".seg", ".val"} {
		for _, file := range r.list(manifest.SegmentDir, ext) {
			number, ok := segment.ParseFileName(path.Base(file))
			if !ok {
				number, ok = segment.ParseValueFileName(path.Base(file))
			}
			if ok {
				r.state.Numbers = max(r.state.Numbers, number+1)
			}
			r.state.ValueFiles = r.state.ValueFiles || ext == ".val"
			if ext != ".seg" || !ok {
				continue
			}
			if err := r.readSegment(file, number); err != nil {
				return err
			}
		}
	}
	for id, files := range r.segments {
		kept, left := disjoint(files)
		r.segments[id] = kept
		for _, f := range left {
			err := r.found(&Finding{Kind: KindNote, File: f.path, Text: "other segments have its records: it is an input or an output of a compaction"})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// readSegment reads a segment, and ends it with an index block in memory, so that the records
// behind its last index block count.
func (r *rebuilding) readSegment(file string, number uint64) error {
	f := &segmentFile{path: file}
	err := f.read(r.source.fs, segment.FileHeader{Number: number, Seed: segment.Seed(r.identity.Seed)})
	switch {
	case err != nil && !errors.Is(err, kv.ErrCorrupt):
		return err
	case f.header.Err == nil && (f.header.StoreID != r.identity.StoreID || f.header.Number != number):
		return r.found(&Finding{Kind: KindDamage, File: file,
			Text: fmt.Sprintf("it is segment %d of store %x: the file is left out", f.header.Number, f.header.StoreID)})
	case f.bucket == 0 || f.desc.Records == 0 && f.tail == 0:
		return nil // nothing was written to it, or nothing can be read
	}
	f.desc.Number, f.desc.BucketID = number, f.bucket
	if err := f.finish(r.options()); err != nil {
		return r.found(&Finding{Kind: KindDamage, File: file, Text: err.Error() + ": the file is left out"})
	}
	r.segments[f.bucket] = append(r.segments[f.bucket], f)
	return nil
}

// makeBuckets makes the entries of all buckets.
func (r *rebuilding) makeBuckets() error {
	ids := slices.Collect(maps.Keys(r.segments))
	for id := range r.log.buckets {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	low := wal.LSN(1<<64 - 1)
	for _, id := range slices.Compact(ids) {
		r.state.MaxBucketID = max(r.state.MaxBucketID, id)
		inLog := r.log.bucket(id)
		if inLog.deleted || inLog.hidden {
			continue
		}
		b := r.makeBucket(id, inLog)
		r.state.Buckets[id] = b
		low = min(low, b.Position)
	}
	if len(r.state.Buckets) == 0 {
		low = r.log.last
	}
	r.state.LogLow = low
	r.state.LogWords = r.log.wordsBehind(low)
	return nil
}

func (r *rebuilding) makeBucket(id uint64, inLog *bucketInLog) *manifest.Bucket {
	b := &manifest.Bucket{ID: id, Life: id%manifest.LifeMax + 1, Next: 1, Config: kv.Config{Bucket: fmt.Sprintf("recovered-%d", id), History: kv.MaxHistory}.WithDefaults()}
	for _, f := range r.segments[id] {
		b.Segments = append(b.Segments, manifest.Segment{Desc: f.desc})
		b.Next = max(b.Next, f.desc.Last+1)
		b.Created = f.created
		r.state.Clock = max(r.state.Clock, f.created)
	}
	b.Position = inLog.position(r.log.first-1, r.log.last, b.Next)
	for _, op := range inLog.operations {
		if op.lsn > b.Position {
			continue // replay applies it
		}
		switch decided := op.Operation.(type) {
		case *journal.Create:
			b.Config, b.Created, b.Life = decided.Config, decided.Created, decided.Life
		case *journal.Edit:
			b.Config = decided.Config
		case *journal.Reveal:
			b.Next = max(b.Next, decided.Next)
		}
		journal.ChangeRules(&b.Live, op.Operation)
	}
	if c := inLog.created; c != nil { // its name, also where replay meets it again
		b.Life = c.Life
		if b.Config.Bucket != c.Config.Bucket {
			b.Config = c.Config
		}
	}
	return b
}
