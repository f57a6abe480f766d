package dump

import (
	"fmt"
	"path"

	"kvd/bucket/manifest"
	"kvd/segment"
)

func (r *reader) segmentOptions() segment.Options {
	return segment.Options{FS: r.fs, Dir: path.Join(r.dir, manifest.SegmentDir), Seed: r.seed, StoreID: r.storeID}
}

// segmentFile is a segment's file that is told.
type segmentFile struct {
	*reader
	file   string
	named  *namedSegment // nil: the manifest does not name it
	bucket uint64        // id
	name   string        // of the bucket, as far as it is known
}

// tellSegment tells a segment.
func (r *reader) tellSegment(file string) error {
	s := segmentFile{reader: r, file: file}
	known := segment.FileHeader{Seed: r.seed}
	if number, ok := segment.ParseFileName(path.Base(file)); ok && r.state != nil {
		if s.named = r.named[number]; s.named != nil {
			known.BucketID, known.Number = s.named.bucket.ID, number
		}
	}
	if err := r.begin(file, "segment"); err != nil {
		return err
	}
	err := segment.Inspect(r.fs, file, known, segment.Inspection{Header: s.tellHeader, Record: s.tellRecord, Page: s.tellPage, Gap: s.tellGap})
	if err == errUnwanted { //nolint:errorlint // it is the one of tellHeader
		return nil
	}
	return r.unreadable(file, err)
}

// errUnwanted ends the inspection of a file of another bucket.
var errUnwanted = fmt.Errorf("%w: of another bucket", errEnough)

func (s *segmentFile) tellHeader(h *segment.FileHeader) error {
	s.bucket = h.BucketID
	if s.named != nil {
		s.bucket = s.named.bucket.ID
	}
	s.name = s.bucketName(s.bucket)
	if s.state != nil && !s.opts.wantsBucket(s.name) {
		return errUnwanted
	}
	return s.tellPlain(headerItem(s.file, "segment", segment.HeaderSize, h))
}

func headerItem(file, of string, size int64, h *segment.FileHeader) *Item {
	item := &Item{
		File: file, Size: size, Kind: KindHeader, Sums: []Sum{{"header", Hex(h.Stored), Hex(h.Computed)}}, Text: errorText(h.Err),
		Header: &Header{Of: of, Version: h.Version, Features: h.Features, Store: storeText(h.StoreID), Seed: Hex(h.Seed), Number: h.Number, Bucket: h.BucketID},
	}
	if h.Err != nil {
		item.Verdict = Verdict{State: StateDamaged}
	}
	return item
}

func (s *segmentFile) tellRecord(rec *segment.FileRecord) error {
	if !s.opts.tells(Segments) || s.opts.Key != "" && s.opts.Key != string(rec.Key) {
		return nil
	}
	told := newRecord(&rec.Record, s.name, rec.StoredLen, rec.ValueLen, rec.HeadersLen)
	item := &Item{
		File: s.file, Offset: rec.Offset, Size: int64(rec.Size), Kind: KindRecord, Record: told, Verdict: s.verdict(rec),
		Sums: []Sum{{"head", Hex(rec.HeadSum), Hex(rec.HeadSum)}, {"body", Hex(rec.Stored), Hex(rec.Computed)}},
	}
	if rec.Damage != nil {
		item.Text = rec.Damage.Error()
		if item.Verdict.State != StateDead && item.Verdict.State != StateIgnored {
			item.Verdict = Verdict{State: StateDamaged}
		}
	} else if s.opts.Values != ValuesNone && rec.Op == segment.Put && !rec.Lost {
		_, value, err := rec.ReadValue()
		if err != nil {
			item.Text = err.Error()
		} else {
			told.setValue(value, s.opts.Values)
		}
	}
	return s.tell(item)
}

// verdict returns what becomes of a record.
func (s *segmentFile) verdict(rec *segment.FileRecord) Verdict {
	switch {
	case s.state == nil:
		return Verdict{}
	case s.named == nil:
		return Verdict{State: StateIgnored, By: "the manifest does not name the file"}
	case rec.Offset+int64(rec.Size) > s.named.Size:
		return Verdict{State: StateIgnored, By: fmt.Sprintf("the manifest counts the first %d bytes of the file", s.named.Size)}
	}
	return s.lives[s.bucket].verdict(string(rec.Key), rec.Revision, rec.Op)
}

func (s *segmentFile) tellPage(p *segment.FilePage) error {
	if !s.opts.tells(Index) {
		return nil
	}
	page := &Item{
		File: s.file, Offset: p.Offset, Size: segment.PageSize, Kind: KindPage, Sums: []Sum{{"page", Hex(p.Sum), Hex(p.Sum)}}, Text: errorText(p.Err),
		Page: &Page{p.Block, p.Pages, p.Previous, p.First, p.Records, p.RecordsBefore, Hex(p.RecordsSum), Hex(p.SumBefore)},
	}
	if err := s.tellPlain(page); err != nil {
		return err
	}
	for i := range p.Entries {
		e := &p.Entries[i]
		if s.opts.Key != "" && s.opts.Key != string(e.Key) {
			continue
		}
		err := s.tell(&Item{File: s.file, Offset: p.Offset, Size: segment.PageSize, Kind: KindEntry, Entry: &Entry{
			Key: string(e.Key), Revision: e.Revision, Operation: e.Op.String(), At: e.Offset, Size: e.Size,
		}})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *segmentFile) tellGap(g *segment.FileGap) error {
	item := &Item{File: s.file, Offset: g.From, Size: g.To - g.From, Kind: KindUnknown, Text: "no valid record and no index page"}
	switch {
	case g.Zeros:
		item.Kind, item.Text = KindFree, ""
	case g.Cause != nil:
		item.Text = g.Cause.Error()
	case g.Seems != "":
		item.Text = "what seems to be a " + g.Seems
		if g.Seems == "index page" {
			item.Text = "what seems to be an index page"
		}
		item.Sums = []Sum{{g.Seems, Hex(g.Stored), Hex(g.Computed)}}
	}
	switch {
	case item.Kind == KindFree || s.state == nil:
	case s.named == nil || g.From >= s.named.Size:
		item.Verdict = Verdict{State: StateIgnored}
	default:
		item.Verdict = Verdict{State: StateDamaged}
	}
	return s.tellPlain(item)
}

// tellValue tells a value file.
func (r *reader) tellValue(file string) error {
	v, err := segment.InspectValue(r.fs, file, r.seed)
	if err != nil {
		return r.unreadable(file, err)
	}
	if r.opts.Key != "" || r.state != nil && !r.opts.wantsBucket(r.bucketName(v.BucketID)) || !r.opts.tells(Segments) {
		return nil
	}
	if err := r.begin(file, "value file"); err != nil {
		return err
	}
	head := headerItem(file, "value", segment.PageSize, &v.FileHeader)
	head.Header.Value = v.Value
	if err := r.tell(head); err != nil {
		return err
	}
	item := &Item{
		File: file, Offset: segment.PageSize, Size: int64(v.Value), Kind: KindValue, Sums: []Sum{{"value", Hex(v.ValueSum), Hex(v.ValueHas)}},
		Text: errorText(v.ValueErr),
	}
	if v.ValueErr != nil {
		item.Verdict = Verdict{State: StateDamaged}
	}
	return r.tell(item)
}
