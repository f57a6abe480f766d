package nats

import (
	"context"

	"kvd/kv"
	"kvd/kv/msglog"
)

// getSource is where the messages of a direct get come from. It holds no message.
type getSource interface {
	// read calls fn for the next records, until fn returns false or there were enough for one
	// turn. Records that were read together are passed to fn also after it has returned
	// false. It reports whether there may be more.
	read(ctx context.Context, fn func(*kv.Entry) bool) (more bool, err error)
	upTo() kv.Revision // the newest record that it may find
	close()
}

// allSource is every record of a stream.
type allSource struct {
	records  msglog.Log
	next, to kv.Revision
}

// readAll returns the records of a stream from one on, and their number.
func (f *Front) readAll(ctx context.Context, s *stream, from kv.Revision) (getSource, uint64, error) {
	if s.records == nil {
		return nil, 0, kv.ErrNotSupported
	}
	st, err := s.bucket.Status(ctx)
	if err != nil {
		return nil, 0, err
	}
	n, err := f.countFrom(ctx, s, ">", from)
	return &allSource{s.records, from, st.Revision}, n, err
}

func (a *allSource) read(ctx context.Context, fn func(*kv.Entry) bool) (more bool, err error) {
	if a.next > a.to {
		return false, nil
	}
	goesOn := true
	a.next, err = a.records.Scan(ctx, ">", a.next, a.to, func(e *kv.Entry) bool {
		if !goesOn {
			return false
		}
		goesOn = fn(e)
		return true
	})
	return a.next <= a.to, err
}

func (a *allSource) upTo() kv.Revision { return a.to }

func (a *allSource) close() {}

// matchingSource is the records of a stream that match a filter: the initial entries of a
// watch.
type matchingSource struct {
	kv.Poller
	to kv.Revision
}

// readMatching returns the records of a stream from one on whose keys match, and their
// number. count is how many are wanted.
func (s *stream) readMatching(ctx context.Context, pattern string, from kv.Revision, count int) (getSource, uint64, error) {
	w, err := s.watchFrom(ctx, pattern, from, msglog.SelectAtMost(max(count, 1)))
	if err != nil {
		return nil, 0, err
	}
	st, err := s.bucket.Status(ctx)
	if err != nil {
		_ = w.Stop() // which returns nil
		return nil, 0, err
	}
	return &matchingSource{w, st.Revision}, w.Pending(), nil
}

func (m *matchingSource) read(_ context.Context, fn func(*kv.Entry) bool) (more bool, err error) {
	var damaged error
	atEnd := false
	more, err = m.Poll(func(u kv.Update) bool {
		if atEnd = u.Entry == nil || u.Entry.Revision > m.to; atEnd {
			return false
		}
		if damaged = u.Err; damaged != nil {
			return false
		}
		return fn(u.Entry)
	})
	if err == nil {
		err = damaged
	}
	return more && !atEnd, err
}

func (m *matchingSource) upTo() kv.Revision { return m.to }

func (m *matchingSource) close() { _ = m.Stop() } // which returns nil

// watchFrom returns a watch of the records from one on whose keys match, to be polled.
func (s *stream) watchFrom(ctx context.Context, pattern string, from kv.Revision, opts ...kv.WatchOption) (kv.Poller, error) {
	opts = append(opts, kv.ResumeFromRevision(from), msglog.PassForgotten(), kv.Notify(func() {}))
	w, err := s.bucket.Watch(ctx, []string{pattern}, opts...)
	if err != nil {
		return nil, err
	}
	poller, ok := kv.As[kv.Poller](w)
	if !ok {
		_ = w.Stop() // which returns nil
		return nil, kv.ErrNotSupported
	}
	return poller, nil
}

// countFrom returns how many records there are from one on whose keys match. Of all keys,
// that is a subtraction where the stream has no gaps.
func (f *Front) countFrom(ctx context.Context, s *stream, pattern string, from kv.Revision) (uint64, error) {
	now := *s
	var err error
	if now.status, err = s.bucket.Status(ctx); err != nil || from > now.status.Revision {
		return 0, err
	}
	if pattern == ">" {
		first, isEmpty := f.first(ctx, &now)
		st := &now.status
		switch {
		case isEmpty:
			return 0, nil
		case from <= first.Revision:
			return st.Values, nil
		case st.Values == uint64(st.Revision-first.Revision)+1:
			return uint64(st.Revision-from) + 1, nil
		}
	}
	w, err := s.watchFrom(ctx, pattern, from, msglog.SelectAtMost(1))
	if err != nil {
		return 0, err
	}
	defer func() { _ = w.Stop() }() // which returns nil
	return w.Pending(), nil
}

// lastSource is a selection of the last messages of subjects.
type lastSource struct{ msglog.Selection }

func (l lastSource) read(_ context.Context, fn func(*kv.Entry) bool) (more bool, err error) {
	for goesOn := true; goesOn && l.Len() > 0 && err == nil; {
		err = l.Read(func(e *kv.Entry) { goesOn = fn(e) && goesOn })
	}
	return l.Len() > 0, err
}

func (l lastSource) upTo() kv.Revision { return l.At() }

func (l lastSource) close() {}
