package repair

import (
	"errors"
	"path"

	"kvd/bucket/journal"
	"kvd/bucket/manifest"
	"kvd/kv"
	"kvd/segment"
	"kvd/wal"
)

// logContent is what the log says of buckets.
type logContent struct {
	first, last wal.LSN // of the frames that are there
	buckets     map[uint64]*bucketInLog
	words       []framed // of the frames, ascending
}

// framed is the words of a frame.
type framed struct {
	lsn   wal.LSN
	words wal.Words
}

// bucketInLog is what the log says of a bucket.
type bucketInLog struct {
	records    []revisionAt // ascending
	operations []operationAt
	created    *journal.Create
	deleted    bool
	hidden     bool // its import was not committed
}

// revisionAt is the highest revision that a frame has of a bucket.
type revisionAt struct {
	lsn      wal.LSN
	revision kv.Revision
}

// operationAt is an operation, and the frame that has it.
type operationAt struct {
	journal.Operation
	lsn wal.LSN
}

// readLog reads all frames that the log has.
func (r *rebuilding) readLog() error {
	l := &r.log
	l.buckets = make(map[uint64]*bucketInLog)
	log, err := wal.Open(wal.Options{FS: r.source.fs, Dir: path.Join(r.source.dir, manifest.LogDir), StoreID: r.identity.StoreID})
	if err != nil {
		l.first = 1
		return r.found(&Finding{Kind: KindDamage, File: path.Join(r.source.dir, manifest.LogDir), Text: err.Error()})
	}
	l.first = log.First()
	l.last = l.first - 1
	_, err = log.Replay(wal.Wanted{Frame: func(f wal.Frame) error {
		l.last = f.LSN
		l.words = append(l.words, framed{f.LSN, f.Words})
		return l.frame(&f, segment.Seed(r.identity.Seed))
	}})
	if err == nil {
		for _, b := range l.buckets {
			if c := b.created; c != nil {
				r.state.Clock = max(r.state.Clock, c.Created)
			}
		}
	}
	return err
}

// frame notes what a frame has, up to something that cannot be decoded. The error matches
// kv.ErrVersion.
func (l *logContent) frame(f *wal.Frame, seed segment.Seed) error {
	for payload := f.Payload; len(payload) > 0; {
		kind, body, rest, err := journal.Next(payload)
		if err != nil {
			return nil //nolint:nilerr // the engine tells it when it replays the frame
		}
		payload = rest
		if kind != journal.Records {
			op, err := journal.Decode(kind, body)
			if errors.Is(err, kv.ErrVersion) {
				return err
			}
			if err == nil {
				l.operation(op, f.LSN)
			}
			continue
		}
		for at := 0; at < len(body); {
			rec, size, err := seed.DecodeHeader(body[at:])
			if err != nil {
				break
			}
			at += size
			if b := l.bucket(rec.BucketID); rec.Op != segment.Erase {
				b.records = append(b.records, revisionAt{f.LSN, rec.Revision})
			}
		}
	}
	return nil
}

func (l *logContent) operation(op journal.Operation, lsn wal.LSN) {
	b := l.bucket(op.BucketID())
	b.operations = append(b.operations, operationAt{op, lsn})
	switch op := op.(type) {
	case *journal.Create:
		b.created, b.hidden = op, op.Hidden
	case *journal.Reveal:
		b.hidden = false
	case *journal.Delete:
		b.deleted = true
	}
}

func (l *logContent) bucket(id uint64) *bucketInLog {
	b := l.buckets[id]
	if b == nil {
		b = &bucketInLog{}
		l.buckets[id] = b
	}
	return b
}

// position returns the frame up to which the segments hold every record of the bucket: the last
// one before a frame with a revision of at least next.
func (b *bucketInLog) position(low, last wal.LSN, next kv.Revision) wal.LSN {
	for _, r := range b.records {
		if r.revision >= next {
			return max(low, r.lsn-1)
		}
	}
	return last
}

// wordsBehind returns the words of the frame behind an LSN, or of the first one behind it.
func (l *logContent) wordsBehind(lsn wal.LSN) wal.Words {
	for _, f := range l.words {
		if f.lsn > lsn {
			return f.words
		}
	}
	return wal.Words{}
}
