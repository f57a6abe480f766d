package nats

import (
	"context"
	"errors"
	"sync"
	"time"

	"kvd/internal/view"
	"kvd/kv"
	"kvd/kv/msglog"
	"kvd/server/nats/streamconfig"
)

// stream is a stream as it was when a connection looked it up in this round.
type stream struct {
	bucket  kv.Bucket
	records msglog.Log // nil if the bucket does not implement it
	name    string     // of the bucket
	config  *streamconfig.Config
	layout  *streamconfig.Layout
	status  kv.Status
}

// stream looks up the stream of a bucket. The name may be a view of the input; the stream
// does not keep it.
func (f *Front) stream(ctx context.Context, name string) (*stream, error) {
	b, err := f.store.Bucket(ctx, name)
	if err != nil {
		return nil, err
	}
	st, err := b.Status(ctx)
	if err != nil {
		return nil, err
	}
	s := &stream{bucket: b, name: b.Name(), status: st}
	s.config, s.layout = f.configs.Of(&st.Config)
	s.records, _ = kv.As[msglog.Log](b)
	return s, nil
}

// streamNamed looks up a stream by its own name. The key/value bucket comes first: kvd's own
// tools can make one although there is a message stream of that name, which is hidden then.
// The error matches kv.ErrBucketNotFound if there is no stream.
func (f *Front) streamNamed(ctx context.Context, name string) (*stream, error) {
	if bucket, ok := streamconfig.KeyBucketOf(name); ok {
		s, err := f.stream(ctx, bucket)
		if !errors.Is(err, kv.ErrBucketNotFound) {
			return s, err
		}
	}
	if bucket, ok := streamconfig.MessageBucketOf(name); ok {
		return f.stream(ctx, bucket)
	}
	return nil, kv.ErrBucketNotFound
}

// stream looks up the stream of a bucket, once in a round. The errors are those of the
// store.
func (c *conn) stream(name []byte) (*stream, error) {
	if s := c.streams[string(name)]; s != nil {
		return s, nil
	}
	c.EnterStore()
	s, err := c.front.stream(c.ctx, string(name))
	c.LeaveStore()
	if err != nil {
		return nil, err
	}
	c.streams[s.name] = s
	return s, nil
}

// streamNamed looks up a stream by its own name, which may be a view. It returns nil if
// there is none.
func (c *conn) streamNamed(name []byte) *stream {
	if bucket, ok := streamconfig.KeyBucketOf(view.String(name)); ok { // the most frequent case: no allocation
		if s, err := c.stream(view.Bytes(bucket)); err == nil {
			return s
		}
	}
	if bucket, ok := streamconfig.MessageBucketOf(view.String(name)); ok {
		if s, err := c.stream(view.Bytes(bucket)); err == nil {
			return s
		}
	}
	return nil
}

// last returns the newest record of a key, which may be a marker.
func (s *stream) last(ctx context.Context, key string) (kv.Entry, error) {
	if s.records != nil {
		return s.records.Last(ctx, key)
	}
	e, found := kv.Entry{}, false
	for next, err := range s.bucket.History(ctx, key) {
		if err != nil {
			return kv.Entry{}, err
		}
		e, found = next, true
	}
	if !found {
		return e, kv.ErrKeyNotFound
	}
	return e, nil
}

// lastOfSubject returns the newest record of a literal subject, which may be a marker.
func (s *stream) lastOfSubject(ctx context.Context, subject []byte) (kv.Entry, error) {
	key, ok := s.layout.Key(subject)
	if !ok {
		return kv.Entry{}, kv.ErrKeyNotFound
	}
	if !s.layout.OnePerMessage {
		return s.last(ctx, key)
	}
	if s.records == nil {
		return kv.Entry{}, kv.ErrNotSupported
	}
	return s.records.LastAppended(ctx, key)
}

// lastSequence returns the sequence of a key's newest message as NATS' clients see it. It
// is 0 if there is none, and for an expiry marker in a stream without marker TTL.
func (s *stream) lastSequence(ctx context.Context, key string) (kv.Revision, error) {
	e, err := s.last(ctx, key)
	switch {
	case errors.Is(err, kv.ErrKeyNotFound), errors.Is(err, kv.ErrInvalidKey):
		return 0, nil
	case err != nil || e.Reason == kv.ReasonExpiry && s.config.SubjectDeleteMarkerTTL == 0:
		return 0, err
	}
	return e.Revision, nil
}

// checkDoubt returns nil, or what is in doubt of the stream after damage. It asks by a
// listing of no key, whose error has all that there is to know.
func (s *stream) checkDoubt(ctx context.Context) error {
	st, err := s.bucket.Status(ctx)
	if err != nil || st.Doubt == 0 {
		return err
	}
	for _, err := range s.bucket.Keys(ctx, "-") {
		return err
	}
	return nil
}

// at returns the record with that revision.
func (s *stream) at(ctx context.Context, revision kv.Revision) (kv.Entry, error) {
	if s.records == nil {
		return kv.Entry{}, kv.ErrNotSupported
	}
	return s.records.At(ctx, revision)
}

// next returns the first record at or after a revision whose key matches.
func (s *stream) next(ctx context.Context, pattern string, from kv.Revision) (kv.Entry, error) {
	if s.records == nil {
		return kv.Entry{}, kv.ErrNotSupported
	}
	return s.records.Next(ctx, pattern, from)
}

// lastMatching returns the newest record whose key matches a pattern. It scans the newest
// 1,024 records first, then ever more of the older ones. If every message has a key of its
// own, it lists the matching keys after the first scan: then they are few, or a client that
// expects a sequence of many subjects would have found the message that it wrote just
// before.
func (s *stream) lastMatching(ctx context.Context, pattern string) (kv.Entry, error) {
	st, err := s.bucket.Status(ctx)
	if err != nil {
		return kv.Entry{}, err
	}
	var newest kv.Revision
	for to, count := st.Revision, kv.Revision(1024); to > 0 && newest == 0 && err == nil; count *= 8 {
		from := max(to, count) - count + 1
		if st.Doubt < to { // what is above the bound is certain: first without the rest
			from = max(from, st.Doubt+1)
		}
		err = s.scan(ctx, pattern, from, to, func(e *kv.Entry) bool {
			newest = e.Revision
			return true
		})
		to = from - 1
		if newest == 0 && s.layout.OnePerMessage && err == nil {
			return s.lastMatchingByKeys(ctx, pattern)
		}
	}
	switch {
	case err != nil:
		return kv.Entry{}, err
	case newest == 0:
		return kv.Entry{}, kv.ErrKeyNotFound
	}
	return s.at(ctx, newest)
}

// lastMatchingByKeys is lastMatching for a stream with OnePerMessage. The suffixes of the
// keys say which is the newest, see msglog.AppendSuffix.
func (s *stream) lastMatchingByKeys(ctx context.Context, pattern string) (kv.Entry, error) {
	suffix := func(key string) string { return key[len(s.layout.SubjectPart(key)):] } // empty for a key that the front end did not write
	var newest string
	for key, err := range s.bucket.Keys(ctx, pattern) {
		if err != nil {
			return kv.Entry{}, err
		}
		if end := suffix(key); end != "" && (newest == "" || end < suffix(newest)) {
			newest = key
		}
	}
	if newest == "" {
		return kv.Entry{}, kv.ErrKeyNotFound
	}
	return s.last(ctx, newest)
}

// scan calls fn for the records from from to to whose keys match, by revision and without
// their values, until fn returns false. It reads them one after the other, where next would
// search for each.
func (s *stream) scan(ctx context.Context, pattern string, from, to kv.Revision, fn func(*kv.Entry) bool) error {
	if to == 0 {
		return nil
	}
	w, err := s.bucket.Watch(ctx, []string{pattern}, kv.ResumeFromRevision(max(from, 1)), msglog.PassForgotten(), kv.MetaOnly(), kv.Notify(func() {}))
	if err != nil {
		return err
	}
	defer func() { _ = w.Stop() }() // the error of a watch that has ended
	poller, ok := kv.As[kv.Poller](w)
	if !ok {
		return kv.ErrNotSupported
	}
	within := true
	for more := true; more && within && err == nil; {
		more, err = poller.Poll(func(u kv.Update) bool {
			if u.Entry != nil {
				within = u.Entry.Revision <= to && fn(u.Entry)
			}
			return within
		})
	}
	return err
}

// streamState describes the messages of a stream in answers of the API.
type streamState struct {
	Messages    uint64            `json:"messages"`
	Bytes       uint64            `json:"bytes"`
	FirstSeq    uint64            `json:"first_seq"`
	FirstTime   time.Time         `json:"first_ts"`
	LastSeq     uint64            `json:"last_seq"`
	LastTime    time.Time         `json:"last_ts"`
	NumSubjects uint64            `json:"num_subjects,omitempty"`
	Subjects    map[string]uint64 `json:"subjects,omitempty"`
	NumDeleted  uint64            `json:"num_deleted,omitempty"`
	Deleted     []uint64          `json:"deleted,omitempty"` // if the request asks for it
	Consumers   int               `json:"consumer_count"`
}

// state describes a stream's messages. While the stream is in doubt, that is what is known
// of them: clients ask for it before they use a stream at all. If a stream known emptied before the process began,
// the time of its last message is not known; the time of its creation stands for it.
func (f *Front) state(ctx context.Context, s *stream) streamState {
	ctx = kv.WithStale(ctx)
	first, isEmpty := f.first(ctx, s)
	st := &s.status
	state := streamState{
		Messages: st.Values, Bytes: st.Bytes, LastSeq: uint64(st.Revision), Consumers: f.consumers.count(s.name),
	}
	if st.Revision == 0 {
		return state
	}
	if state.LastTime = st.Written; state.LastTime.IsZero() {
		state.LastTime = st.Created
	}
	if isEmpty {
		state.Messages, state.Bytes, state.FirstSeq = 0, 0, state.LastSeq+1 // the status may count records that have expired
		return state
	}
	state.NumSubjects, _ = f.subjectCounts.of(ctx, s) // 0 after an error
	if first.Revision != 0 {
		state.FirstSeq, state.FirstTime = uint64(first.Revision), first.Created
		span := state.LastSeq - state.FirstSeq + 1
		state.NumDeleted = span - min(st.Values, span)
	}
	return state
}

// first returns a stream's first record, and whether the stream is empty. The record has
// revision 0 if the stream is empty or the store fails. If records were removed since the
// stream known looked up, first looks it up again, so that the record and the status agree.
func (f *Front) first(ctx context.Context, s *stream) (first kv.Entry, isEmpty bool) {
	if s.status.Values == 0 {
		return first, true
	}
	refresh := func() (err error) {
		st, err := s.bucket.Status(ctx)
		if err == nil {
			s.status = st
		}
		return err
	}
	first, err := f.firstRecords.of(ctx, s)
	if errors.Is(err, kv.ErrKeyNotFound) {
		if err = refresh(); err == nil {
			first, err = f.firstRecords.of(ctx, s)
		}
	}
	if st := &s.status; err == nil && (first.Revision > st.Revision || st.Values > uint64(st.Revision-first.Revision)+1) {
		err = refresh()
	}
	if err != nil {
		return kv.Entry{}, errors.Is(err, kv.ErrKeyNotFound)
	}
	return first, s.status.Values == 0
}

// firstRecords remembers the first record of each stream: the next first record is after
// it. A search from revision 1 would pass all records that were superseded, about 50 ms for
// half a million. Safe for concurrent use.
type firstRecords struct {
	byBucket sync.Map // by name: firstRecord
}

// firstRecord is the revision of a bucket's first record.
type firstRecord struct {
	bucketID uint64
	revision kv.Revision
}

// of returns the first record of a stream.
func (fs *firstRecords) of(ctx context.Context, s *stream) (kv.Entry, error) {
	from := kv.Revision(1)
	if known, ok := fs.byBucket.Load(s.name); ok && known.(firstRecord).bucketID == s.status.ID {
		from = known.(firstRecord).revision
	}
	e, err := s.next(ctx, ">", from)
	if err == nil {
		fs.byBucket.Store(s.name, firstRecord{s.status.ID, e.Revision})
	}
	return e, err
}

// remove removes what is remembered of a bucket.
func (fs *firstRecords) remove(bucket string) { fs.byBucket.Delete(bucket) }
