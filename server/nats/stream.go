package nats

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"kvd/internal/view"
	"kvd/kv"
	"kvd/kv/msglog"
	"kvd/server"
	"kvd/server/nats/jsapi"
	"kvd/server/nats/streamconfig"
	"kvd/server/nats/wire"
)

// ExpectedStream is a bucket as it was when a round of a connection looked it up.
type stream struct {
	bucket  kv.Bucket
	records msglog.Log // nil: the bucket is none
	name    string     // Of the bucket
	config  *streamconfig.Config
	layout  *streamconfig.Layout
	status  kv.Status
}

// ExpectedStream looks a bucket up. The name may be a view: the stream's is not.
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

// ExpectedStream looks a bucket up once in a round. An error is that there is none, or the
// store's.
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

// streamNamed looks up the stream of a name that a client has, which may be a view; nil
// if there is none.
func (c *conn) streamNamed(name []byte) *stream {
	bucket, ok := bytes.CutPrefix(name, []byte(wire.BucketStreamPrefix))
	if ok { // a read that matters: no allocation
		ok = !bytes.HasPrefix(bucket, []byte(msglog.ReservedBucket))
	} else {
		var plain string
		plain, ok = streamconfig.BucketOf(view.String(name))
		bucket = []byte(plain)
	}
	if !ok {
		return nil
	}
	s, err := c.stream(bucket)
	if err != nil {
		return nil
	}
	return s
}

// may returns nil, or that the user lacks the permission in the bucket.
func (c *conn) may(p server.Permission, what, bucket string) *jsapi.Error {
	if c.May(p, bucket) {
		return nil
	}
	return jsapi.PermissionDenied(what, bucket)
}

// ExpectedLastSequence returns the newest record of a key, marker or not.
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

// lastOf returns the newest record of a subject, marker or not.
func (s *stream) lastOf(ctx context.Context, subject []byte) (kv.Entry, error) {
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

// lastSequence returns the revision of a key's newest record as NATS' clients know it:
// 0 where there is none, or none but the marker of an expiry in a stream that would
// have no such marker.
func (s *stream) lastSequence(ctx context.Context, key string) kv.Revision {
	e, err := s.last(ctx, key)
	if err != nil || e.Reason == kv.ReasonExpiry && s.config.SubjectDeleteMarkerTTL == 0 {
		return 0
	}
	return e.Revision
}

// at returns the record of a revision.
func (s *stream) at(ctx context.Context, revision kv.Revision) (kv.Entry, error) {
	if s.records == nil {
		return kv.Entry{}, kv.ErrNotSupported
	}
	return s.records.At(ctx, revision)
}

// next returns the first record from a revision on whose key matches.
func (s *stream) next(ctx context.Context, pattern string, from kv.Revision) (kv.Entry, error) {
	if s.records == nil {
		return kv.Entry{}, kv.ErrNotSupported
	}
	return s.records.Next(ctx, pattern, from)
}

// newestOf returns the newest record whose key matches a pattern. It looks at ever more
// Of the newest records, all of them in the end; where the keys tell which is the newest,
// at those soon: who expects a sequence of many subjects wrote to one of them just now,
// or they are few.
func (s *stream) newestOf(ctx context.Context, pattern string) (kv.Entry, error) {
	st, err := s.bucket.Status(ctx)
	if err != nil {
		return kv.Entry{}, err
	}
	var newest kv.Revision
	for to, count := st.Revision, kv.Revision(1024); to > 0 && newest == 0 && err == nil; count *= 8 {
		from := max(to, count) - count + 1
		err = s.scan(ctx, pattern, from, to, func(e *kv.Entry) bool {
			newest = e.Revision
			return true
		})
		to = from - 1
		if newest == 0 && s.layout.OnePerMessage && err == nil {
			return s.newestApart(ctx, pattern)
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

// newestApart is newestOf for messages apart, by their keys: see msglog.AppendSuffix.
func (s *stream) newestApart(ctx context.Context, pattern string) (kv.Entry, error) {
	suffix := func(key string) string { return key[len(s.layout.SubjectPart(key)):] } // empty: somebody else's
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

// scan calls fn for the records of [from, to] whose keys match, in order and without
// their values, until it returns false. It reads them one after the other, where next
// would look for each.
func (s *stream) scan(ctx context.Context, pattern string, from, to kv.Revision, fn func(*kv.Entry) bool) error {
	if to == 0 {
		return nil
	}
	w, err := s.bucket.Watch(ctx, []string{pattern}, kv.ResumeFromRevision(max(from, 1)), msglog.PassForgotten(), kv.MetaOnly(), kv.Notify(func() {}))
	if err != nil {
		return err
	}
	defer func() { _ = w.Stop() }() // an error says that it has ended
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

// streamState is what a stream holds.
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
	Deleted     []uint64          `json:"deleted,omitempty"` // if asked for
	Consumers   int               `json:"consumer_count"`
}

// state describes a stream. Of an empty one that was used before the process began,
// the last time is unknown: then it is that of the stream's creation.
func (f *Front) state(ctx context.Context, s *stream) streamState {
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
		state.Messages, state.Bytes, state.FirstSeq = 0, 0, state.LastSeq+1 // what has expired may be counted
		return state
	}
	state.NumSubjects, _ = f.counts.of(ctx, s) // an error leaves it out
	if first.Revision != 0 {
		state.FirstSeq, state.FirstTime = uint64(first.Revision), first.Created
		span := state.LastSeq - state.FirstSeq + 1
		state.NumDeleted = span - min(st.Values, span)
	}
	return state
}

// first returns a stream's first record, of revision 0 where the store fails, or that
// there is none. What the stream had when it was looked up may have gone since: then it
// is looked up again, so that the record and what its status says agree.
func (f *Front) first(ctx context.Context, s *stream) (first kv.Entry, isEmpty bool) {
	if s.status.Values == 0 {
		return first, true
	}
	again := func() (err error) {
		st, err := s.bucket.Status(ctx)
		if err == nil {
			s.status = st
		}
		return err
	}
	first, err := f.firsts.of(ctx, s)
	if errors.Is(err, kv.ErrKeyNotFound) {
		if err = again(); err == nil {
			first, err = f.firsts.of(ctx, s)
		}
	}
	if st := &s.status; err == nil && (first.Revision > st.Revision || st.Values > uint64(st.Revision-first.Revision)+1) {
		err = again()
	}
	if err != nil {
		return kv.Entry{}, errors.Is(err, kv.ErrKeyNotFound)
	}
	return first, s.status.Values == 0
}

// firsts remembers which records were the first of their streams: the next to be the
// first is one behind it, and to look for it from the beginning would pass all that is
// dead, some 50 ms for each half a million records that were overwritten. Safe for
// concurrent use.
type firsts struct {
	byBucket sync.Map // name → firstRecord
}

// firstRecord is the revision of a bucket's first record, in one life of its name.
type firstRecord struct {
	bucket   uint64
	revision kv.Revision
}

// Of returns the first record of a stream.
func (fs *firsts) of(ctx context.Context, s *stream) (kv.Entry, error) {
	from := kv.Revision(1)
	if was, ok := fs.byBucket.Load(s.name); ok && was.(firstRecord).bucket == s.status.ID {
		from = was.(firstRecord).revision
	}
	e, err := s.next(ctx, ">", from)
	if err == nil {
		fs.byBucket.Store(s.name, firstRecord{s.status.ID, e.Revision})
	}
	return e, err
}

// Remove forgets a bucket.
func (fs *firsts) drop(bucket string) { fs.byBucket.Delete(bucket) }
