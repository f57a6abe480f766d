package bucket

import (
	"bytes"
	"context"
	"iter"
	"time"

	"kvd/index"
	"kvd/kv"
	"kvd/segment"
)

// Get returns the newest entry of key.
func (b *Bucket) Get(ctx context.Context, key string) (kv.Entry, error) {
	var e kv.Entry
	_, err := b.getAppend(ctx, &e, nil, key)
	return e, kv.NameKey(b.name, key, err)
}

// GetAppend is Get that appends the value to dst. If there is no value it returns
// kv.ErrKeyNotFound itself, unwrapped, which costs no allocation.
func (b *Bucket) GetAppend(ctx context.Context, dst []byte, key string) ([]byte, kv.Entry, error) {
	var e kv.Entry
	dst, err := b.getAppend(ctx, &e, dst, key)
	if err != nil && err != kv.ErrKeyNotFound { //nolint:errorlint // nothing wraps it here
		err = kv.NameKey(b.name, key, err)
	}
	return dst, e, err
}

// getAppend is GetAppend into e, whose errors name neither bucket nor key. e stays zero after an error.
// A copy of an entry takes some nanoseconds, and four functions would pass it up.
func (b *Bucket) getAppend(ctx context.Context, e *kv.Entry, dst []byte, key string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return dst, err
	}
	hash := index.Hash(key)
	b.mu.RLock()
	b.prefetchLocked(hash)
	v, ok := b.mu.index.Newest(hash, key)
	if err := b.doubtsLocked(ctx, v.Revision); err != nil {
		b.mu.RUnlock()
		return dst, err
	}
	ok = ok && !b.expiredLocked(&v, true)
	return b.finishGet(e, dst, key, &v, ok)
}

// prefetchLocked fetches the newest record of the key with that hash into the processor's cache while
// the caller looks the key up. The caller holds mu, for reading at least.
func (b *Bucket) prefetchLocked(hash uint64) {
	record, ok := b.mu.index.Prefetch(hash)
	if !ok || int(record.Segment) >= len(b.mu.segments) {
		return
	}
	if s := b.mu.segments[record.Segment]; s != nil && s.Segment != nil {
		s.Prefetch(record.Offset)
	}
}

// GetRevision returns the entry of key at that revision.
func (b *Bucket) GetRevision(ctx context.Context, key string, revision kv.Revision) (kv.Entry, error) {
	if err := ctx.Err(); err != nil {
		return kv.Entry{}, err
	}
	hash := index.Hash(key)
	b.mu.RLock()
	v, ok := b.atLocked(hash, key, revision)
	if !ok {
		if err := b.doubtsLocked(ctx, revision); err != nil {
			b.mu.RUnlock()
			return kv.Entry{}, kv.NameKey(b.name, key, err)
		}
	}
	var e kv.Entry
	_, err := b.finishGet(&e, nil, key, &v, ok)
	return e, kv.NameKey(b.name, key, err)
}

// finishGet is finishRead for reads of values: a marker counts as not found.
func (b *Bucket) finishGet(e *kv.Entry, dst []byte, key string, v *index.Version, ok bool) ([]byte, error) {
	return b.finishRead(e, dst, key, v, ok && v.Op == kv.Put)
}

// finishRead reads the record that a look-up found, as readInto does. The caller holds mu for
// reading; finishRead releases it.
func (b *Bucket) finishRead(e *kv.Entry, dst []byte, key string, v *index.Version, ok bool) ([]byte, error) {
	if !ok {
		gone := b.mu.gone
		b.mu.RUnlock()
		return dst, missing(key, gone)
	}
	s := b.mu.segments[v.Segment].Segment
	s.Pin()
	b.mu.RUnlock()
	dst, err := b.readInto(e, s, dst, key, v)
	s.Unpin()
	return dst, err
}

// missing returns the error of a look-up that found nothing. A bad key is never in the
// index, so keys are checked only here.
func missing(key string, gone error) error {
	if gone != nil {
		return gone
	}
	if err := kv.CheckKey(key); err != nil {
		return err
	}
	return kv.ErrKeyNotFound
}

// readVersion reads one record out of a pinned segment.
func (b *Bucket) readVersion(s *segment.Segment, key string, v index.Version) (e kv.Entry, err error) {
	_, err = b.readInto(&e, s, nil, key, &v)
	return e, err
}

// readInto reads one record out of a pinned segment into e and appends its value to dst. After an
// error e is unchanged.
func (b *Bucket) readInto(e *kv.Entry, s *segment.Segment, dst []byte, key string, v *index.Version) ([]byte, error) {
	start := len(dst)
	rec, buf, err := s.Read(dst, v.Offset, v.Size, key, v.Revision)
	if err != nil {
		b.noteLost(err, key, v.Revision)
		return dst, kv.NameKey(b.name, key, err)
	}
	headers := bytes.Clone(rec.Headers)
	buf = append(buf[:start], rec.Value...) // moves the value down over its record's header
	*e = kv.Entry{
		Bucket: b.name, Key: key, Value: buf[start:len(buf):len(buf)],
		Revision: v.Revision, Created: time.Unix(0, v.Created).UTC(),
		Operation: v.Op, Reason: v.Reason, Headers: headers,
	}
	if v.Deadline != 0 {
		e.Deadline = time.Unix(0, v.Deadline).UTC()
	}
	return buf, nil
}

// withoutValue returns the entry of a version without what only its record has.
func (b *Bucket) withoutValue(key string, v index.Version) kv.Entry {
	e := kv.Entry{
		Bucket: b.name, Key: key, Revision: v.Revision, Created: time.Unix(0, v.Created).UTC(),
		Operation: v.Op, Reason: v.Reason,
	}
	if v.Deadline != 0 {
		e.Deadline = time.Unix(0, v.Deadline).UTC()
	}
	return e
}

// History yields the kept entries of key, oldest first.
func (b *Bucket) History(ctx context.Context, key string) iter.Seq2[kv.Entry, error] {
	return func(yield func(kv.Entry, error) bool) {
		versions, pinned, err := b.pinVersions(ctx, key)
		if err != nil {
			yield(kv.Entry{}, kv.NameKey(b.name, key, err))
			return
		}
		defer func() {
			for _, s := range pinned {
				s.Unpin()
			}
		}()
		for i, v := range versions {
			err := ctx.Err()
			var e kv.Entry
			if err == nil {
				e, err = b.readVersion(pinned[i], key, v)
			}
			if err != nil {
				// Damage affects this entry only: the caller may go on.
				e = b.withoutValue(key, v)
			}
			e.Delta = uint64(len(versions) - 1 - i)
			if !yield(e, err) || ctx.Err() != nil {
				return
			}
		}
	}
}

// pinVersions returns the kept versions of key and, for each, its pinned segment.
func (b *Bucket) pinVersions(ctx context.Context, key string) ([]index.Version, []*segment.Segment, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	hash := index.Hash(key)
	b.mu.RLock()
	defer b.mu.RUnlock()
	versions := b.versionsLocked(nil, hash, key)
	if err := b.historyDoubtLocked(ctx, versions); err != nil {
		return nil, nil, err
	}
	versions = b.unexpiredLocked(versions)
	if len(versions) == 0 {
		return nil, nil, missing(key, b.mu.gone)
	}
	pinned := make([]*segment.Segment, len(versions))
	for i, v := range versions {
		pinned[i] = b.mu.segments[v.Segment].Segment
		pinned[i].Pin()
	}
	return versions, pinned, nil
}

// Last returns the newest record of key, marker or not; see [msglog.Log].
func (b *Bucket) Last(ctx context.Context, key string) (kv.Entry, error) {
	if err := ctx.Err(); err != nil {
		return kv.Entry{}, err
	}
	b.mu.RLock()
	v, ok := b.newestLocked(index.Hash(key), key)
	if err := b.doubtsLocked(ctx, v.Revision); err != nil {
		b.mu.RUnlock()
		return kv.Entry{}, kv.NameKey(b.name, key, err)
	}
	ok = ok && !b.expiredLocked(&v, true)
	var e kv.Entry
	_, err := b.finishRead(&e, nil, key, &v, ok)
	return e, kv.NameKey(b.name, key, err)
}
