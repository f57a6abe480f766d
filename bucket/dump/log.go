package dump

import (
	"fmt"

	"kvd/bucket/journal"
	"kvd/bucket/manifest"
	"kvd/kv"
	"kvd/segment"
	"kvd/wal"
)

// tellLogFile tells one file of the log.
func (r *reader) tellLogFile(file string) error {
	if err := r.begin(file, "log"); err != nil {
		return err
	}
	return r.unreadable(file, wal.Inspect(r.fs, file, wal.Inspection{
		Header: func(h *wal.FileHeader) error { return r.tellPlain(logHeader(file, h)) },
		Frame:  func(f *wal.FileFrame) error { return r.tellFrame(file, f) },
		Gap: func(from, to int64, zeros bool, cause error) error {
			text := "no frame of this use of the file"
			if cause != nil {
				text = cause.Error()
			}
			return r.tellRest(file, from, to, zeros, text)
		},
	}))
}

func logHeader(file string, h *wal.FileHeader) *Item {
	item := &Item{File: file, Offset: h.Offset, Size: wal.FileHeaderSize, Kind: KindHeader, Sums: []Sum{{"header", Hex(h.Stored), Hex(h.Computed)}}, Text: errorText(h.Err)}
	if h.Err != nil {
		item.Verdict = Verdict{State: StateDamaged}
		return item
	}
	item.Header = &Header{
		Of: "log", Version: wal.Version, Store: storeText(h.StoreID), Number: h.Number, FileID: h.FileID, FileSize: h.Size,
		Salt: Hex(h.Salt), Previous: h.Previous, After: h.After, Words: newWords(h.Words),
	}
	return item
}

// tellFrame tells a frame and what is in it, unless a filter leaves nothing of it.
func (r *reader) tellFrame(file string, f *wal.FileFrame) error {
	if !r.opts.wantsFrame(f.LSN) {
		return nil
	}
	frame := &Item{
		File: file, Offset: f.Offset, Size: f.Size(), Kind: KindFrame, Verdict: r.frameVerdict(file, f),
		Sums:  []Sum{{"header", Hex(f.HeaderSum), Hex(f.HeaderSum)}, {"payload", Hex(f.Stored), Hex(f.Computed)}},
		Frame: &Frame{f.LSN, f.Synced, timeOf(f.Time), len(f.Payload), newWords(f.Words)},
	}
	var parts []*Item
	if f.Stored == f.Computed {
		parts = r.frameParts(file, f, frame)
	}
	if r.opts.filtered() && len(parts) == 0 {
		return nil
	}
	for _, item := range append([]*Item{frame}, parts...) {
		if err := r.tell(item); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) frameVerdict(file string, f *wal.FileFrame) Verdict {
	switch {
	case f.Stored != f.Computed:
		return Verdict{State: StateDamaged}
	case r.state == nil:
		return Verdict{}
	case r.replayed[framePlace{file, f.Offset}]:
		return Verdict{State: StateReplayed}
	case f.LSN <= r.state.LogLow:
		return Verdict{State: StateCovered, By: fmt.Sprintf("a checkpoint up to LSN %d", r.state.LogLow)}
	}
	return Verdict{State: StateIgnored, By: "it is behind the end of the log"}
}

// frameParts returns the operations and records of a frame. What cannot be decoded is a part of
// its own.
func (r *reader) frameParts(file string, f *wal.FileFrame, frame *Item) (parts []*Item) {
	offset := f.Offset + wal.FrameHeaderSize
	end := offset + int64(len(f.Payload))
	for payload := f.Payload; len(payload) > 0; {
		kind, body, rest, err := journal.Next(payload)
		if err != nil {
			return append(parts, &Item{File: file, Offset: offset, Size: end - offset, Kind: KindUnknown, Text: err.Error()})
		}
		if kind == journal.Records {
			parts = append(parts, r.logRecords(file, offset+journal.HeadSize, body, f.LSN, frame.Verdict)...)
		} else if item := r.operationItem(kind, body, f.LSN, payload); item != nil {
			item.File, item.Offset, item.Size = file, offset, int64(len(payload)-len(rest))
			parts = append(parts, item)
		}
		offset += int64(len(payload) - len(rest))
		payload = rest
	}
	return parts
}

// operationItem returns an operation, or nil if it is not asked for.
func (r *reader) operationItem(kind journal.Kind, body []byte, lsn wal.LSN, payload []byte) *Item {
	op, err := journal.Decode(kind, body)
	if err != nil {
		return &Item{Kind: KindUnknown, Text: err.Error()}
	}
	if !r.opts.wantsBucket(r.nameOf(op)) {
		return nil
	}
	told := newOperation(op)
	told.LSN, told.Second = lsn, journal.IsSecond(payload)
	return &Item{Kind: KindOperation, Operation: told}
}

// newOperation returns an operation without its place.
func newOperation(op journal.Operation) *Operation {
	told := &Operation{Bucket: op.BucketID()}
	switch op := op.(type) {
	case *journal.Create:
		told.Name, told.Created, told.Life, told.Config = "Create", op.Created, op.Life, manifest.EncodeConfig(op.Config)
		told.Hidden = op.Hidden
	case *journal.Reveal:
		told.Name, told.Last, told.Next = "Reveal", op.Last, op.Next
	case *journal.Edit:
		told.Name, told.UpTo, told.Keep, told.Config = "Edit", op.Cut.UpTo, op.Cut.Keep, manifest.EncodeConfig(op.Config)
	case *journal.Delete:
		told.Name = "Delete"
	case *journal.PurgeDeletes:
		told.Name, told.UpTo, told.MarkersUpTo = "PurgeDeletes", op.Rule.UpTo, op.Rule.MarkersUpTo
	case *journal.Expire:
		told.Name, told.UpTo, told.UnmarkedUpTo = "Expire", op.ExpiredUpTo, op.UnmarkedUpTo
	case *journal.ExpireMarkers:
		told.Name, told.MarkersExpiredUpTo, told.UnmarkedUpTo = "ExpireMarkers", op.MarkersExpiredUpTo, op.UnmarkedUpTo
	case *journal.Accept:
		told.Name, told.UpTo = "Accept", op.UpTo
	case *journal.Issue:
		told.Name, told.UpTo = "Issue", op.UpTo
	default: // an operation that came later: its name at least
		told.Name = fmt.Sprintf("%T", op)
	}
	return told
}

// nameOf returns the name of the bucket of an operation, as far as it is known.
func (r *reader) nameOf(op journal.Operation) string {
	switch op := op.(type) {
	case *journal.Create:
		return op.Config.Bucket
	case *journal.Edit:
		return op.Config.Bucket
	}
	return r.bucketName(op.BucketID())
}

// bucketName returns the name of a bucket, empty if it is not known.
func (r *reader) bucketName(id uint64) string {
	if l := r.lives[id]; l != nil {
		return l.name
	}
	return ""
}

// logRecords returns the records at offset of the file, in the body of an item.
func (r *reader) logRecords(file string, offset int64, body []byte, lsn wal.LSN, frame Verdict) (items []*Item) {
	for at := 0; at < len(body); {
		rec, size, err := r.decodeRecord(body[at:])
		if err != nil {
			return append(items, &Item{File: file, Offset: offset + int64(at), Size: int64(len(body) - at), Kind: KindUnknown, Text: err.Error()})
		}
		name := r.bucketName(rec.BucketID)
		if r.opts.wantsRecord(name, rec.Key) {
			told := newRecord(&rec, name, rec.ValueLen(), valueLen(&rec), len(rec.Headers))
			told.LSN, told.Unverified = lsn, r.seed == 0
			if r.opts.Values != ValuesNone && rec.Op == segment.Put {
				r.setLogValue(told, &rec)
			}
			item := &Item{File: file, Offset: offset + int64(at), Size: int64(size), Kind: KindRecord, Record: told, Verdict: r.logVerdict(&rec, lsn, frame)}
			if r.seed != 0 {
				head, own := segment.HeadSum(body[at:]), segment.BodySum(body[at:])
				item.Sums = []Sum{{"head", Hex(head), Hex(head)}, {"body", Hex(own), Hex(own)}}
			}
			items = append(items, item)
		}
		at += size
	}
	return items
}

func (r *reader) decodeRecord(b []byte) (segment.Record, int, error) {
	if r.seed == 0 {
		return segment.DecodeUnverified(b)
	}
	return r.seed.DecodeRecord(b)
}

// setLogValue sets the value of a record of the log. A value that cannot be read is left out: the
// record of the segment tells why.
func (r *reader) setLogValue(told *Record, rec *segment.Record) {
	stored := *rec
	if rec.File.Number != 0 {
		value, err := segment.ReadValueFile(r.segmentOptions(), rec)
		if err != nil {
			return
		}
		stored.Value = value
	}
	if value, err := stored.AppendValue(nil); err == nil {
		told.setValue(value, r.opts.Values)
	}
}

// logVerdict returns what becomes of a record of the log.
func (r *reader) logVerdict(rec *segment.Record, lsn wal.LSN, frame Verdict) Verdict {
	l := r.lives[rec.BucketID]
	switch {
	case r.state == nil:
		return Verdict{}
	case frame.State == StateIgnored:
		return frame
	case l == nil && rec.BucketID <= r.state.MaxBucketID:
		return Verdict{StateDead, "deleted", "the manifest no longer has the bucket"}
	case l == nil:
		return Verdict{State: StateIgnored, By: "no bucket has this id"}
	case lsn <= l.position:
		return Verdict{State: StateCovered, By: fmt.Sprintf("the segments hold everything up to LSN %d", l.position)}
	}
	return l.verdict(string(rec.Key), rec.Revision, rec.Op)
}

// newRecord returns a record without its value.
func newRecord(rec *segment.Record, name string, stored uint32, length, headers int) *Record {
	told := &Record{
		Bucket: rec.BucketID, Name: name, Key: string(rec.Key), Revision: rec.Revision, Operation: rec.Op.String(),
		Created: timeOf(rec.Created), Floor: rec.Floor, First: rec.First, Lost: rec.Lost, Compressed: rec.Compressed,
		Stored: stored, Length: length, Headers: headers, ValueFile: rec.File.Number,
	}
	if rec.Reason != kv.ReasonNone {
		told.Reason = rec.Reason.String()
	}
	if rec.Deadline != 0 {
		deadline := timeOf(rec.Deadline)
		told.Deadline = &deadline
	}
	return told
}

// valueLen returns the length of a value before compression.
func valueLen(rec *segment.Record) int {
	if rec.Compressed {
		return int(rec.RawLen)
	}
	return int(rec.ValueLen())
}
