package nats

import (
	"context"
	"fmt"
	"sort"
	"time"

	"kvd/kv"
	"kvd/server/nats/wire"
)

// A client repeats a message that was not acknowledged, also if the process was restarted
// meanwhile. The ids of messages are in the headers of their records. So the records of a
// stream's duplicate window are read when the first message with an id is published to it.
// The ids of records that were overwritten or erased are not found.

// loadMax is how many of a stream's newest revisions are read, which takes a fraction of a
// second. A client repeats the messages that were under way, which are among the newest.
const loadMax = 1 << 16

// loadMsgIDs loads the stored message ids of a stream, if that was not done yet.
func (c *conn) loadMsgIDs(s *stream) (err error) {
	d := &c.front.msgIDs
	d.mu.Lock()
	ids := d.ofStreamLocked(s)
	loaded := ids.loaded
	d.mu.Unlock()
	if loaded {
		return nil
	}
	c.InStore(func() { err = d.load(c.ctx, ids, s) })
	return err
}

// load reads the stored message ids of a stream into ids, unless another goroutine has done
// it meanwhile.
func (d *messageIDs) load(ctx context.Context, ids *streamIDs, s *stream) error {
	ids.loading.Lock()
	defer ids.loading.Unlock()
	d.mu.Lock()
	loaded := ids.loaded
	d.mu.Unlock()
	if loaded {
		return nil
	}
	var found []*messageID
	if from := time.Now().Add(-s.config.DuplicateWindow); s.records != nil && from.Before(d.started) {
		var err error
		if found, err = s.storedMsgIDs(ctx, from, d.started); err != nil {
			return fmt.Errorf("read message ids of bucket %q: %w", s.name, err)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range found {
		ids.add(m)
	}
	ids.loaded = true
	return nil
}

// storedMsgIDs returns the ids of the stream's messages in the time from from to to, the
// oldest first.
func (s *stream) storedMsgIDs(ctx context.Context, from, to time.Time) (found []*messageID, err error) {
	st, err := s.bucket.Status(ctx)
	if err != nil || st.Revision == 0 {
		return nil, err
	}
	known := make(chan struct{})
	close(known)
	first, err := s.firstSince(ctx, from, firstLoaded(st.Revision), st.Revision)
	if err != nil {
		return nil, err
	}
	err = s.scan(ctx, ">", first, st.Revision, func(e *kv.Entry) bool {
		if !e.Created.Before(to) {
			return false
		}
		if id := wire.HeaderField(e.Headers, "Nats-Msg-Id"); len(id) > 0 && !e.Created.Before(from) {
			found = append(found, &messageID{id: string(id), published: e.Created, seq: uint64(e.Revision), done: known})
		}
		return true
	})
	return found, err
}

// firstLoaded returns the first revision that is read.
func firstLoaded(newest kv.Revision) kv.Revision { return max(newest, loadMax) - loadMax + 1 }

// firstSince returns the first revision in first to newest whose record was created at from
// or later. It returns newest+1 if there is none, and an error if a record that is missing
// after damage may be the first.
func (s *stream) firstSince(ctx context.Context, from time.Time, first, newest kv.Revision) (kv.Revision, error) {
	known := kv.WithStale(ctx)
	n := sort.Search(int(newest+1-first), func(i int) bool { // times grow with revisions, or stay
		e, err := s.next(known, ">", first+kv.Revision(i))
		return err != nil || !e.Created.Before(from)
	})
	found := first + kv.Revision(n)
	st, err := s.bucket.Status(ctx)
	if err != nil || st.Doubt < first {
		return found, err
	}
	if e, err := s.next(known, ">", min(st.Doubt, newest)+1); err == nil && e.Created.Before(from) {
		return found, nil // so are all that may be missing
	}
	return found, s.checkDoubt(ctx)
}
