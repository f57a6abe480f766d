package nats

import (
	"context"
	"fmt"
	"sort"
	"time"

	"kvd/kv"
	"kvd/server/nats/wire"
)

// The ids of messages stand in the headers of their records, so what a client
// published before the process began, and repeats because it was not answered, can be
// known again: when the first message with an id comes, the records of the stream's
// duplicate window are looked through. Those that were overwritten or erased are gone,
// and their ids with them.

// recallMax is how many revisions are looked through at most, the newest: what a
// client repeats is what was under way. It takes a fraction of a second.
const recallMax = 1 << 16

// recall sees to it that the stream's window has the ids of before.
func (c *conn) recall(s *stream) (err error) {
	d := &c.front.ids
	d.mu.Lock()
	w := d.windowLocked(s)
	recalled := w.recalled
	d.mu.Unlock()
	if recalled {
		return nil
	}
	c.InStore(func() { err = d.recall(c.ctx, w, s) })
	return err
}

// recall reads the ids of before into the window, unless somebody has meanwhile.
func (d *duplicates) recall(ctx context.Context, w *window, s *stream) error {
	w.recalling.Lock()
	defer w.recalling.Unlock()
	d.mu.Lock()
	recalled := w.recalled
	d.mu.Unlock()
	if recalled {
		return nil
	}
	var found []*messageID
	if from := time.Now().Add(-s.config.DuplicateWindow); s.records != nil && from.Before(d.since) {
		var err error
		if found, err = s.messageIDs(ctx, from, d.since); err != nil {
			return fmt.Errorf("read the message ids of bucket %q: %w", s.name, err)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range found {
		w.add(m)
	}
	w.recalled = true
	return nil
}

// messageIDs returns the ids of a stream's messages of a time, the oldest first.
func (s *stream) messageIDs(ctx context.Context, from, to time.Time) (found []*messageID, err error) {
	st, err := s.bucket.Status(ctx)
	if err != nil || st.Revision == 0 {
		return nil, err
	}
	known := make(chan struct{})
	close(known)
	err = s.scan(ctx, ">", s.firstSince(ctx, from, firstRecalled(st.Revision), st.Revision), st.Revision, func(e *kv.Entry) bool {
		if !e.Created.Before(to) {
			return false
		}
		if id := wire.HeaderField(e.Headers, "Nats-Msg-Id"); len(id) > 0 && !e.Created.Before(from) {
			found = append(found, &messageID{id: string(id), at: e.Created, seq: uint64(e.Revision), done: known})
		}
		return true
	})
	return found, err
}

// firstRecalled returns the first revision that is looked through.
func firstRecalled(newest kv.Revision) kv.Revision { return max(newest, recallMax) - recallMax + 1 }

// firstSince returns the revision before which, of [first, newest], all records are
// older than that time; newest+1 if all are.
func (s *stream) firstSince(ctx context.Context, from time.Time, first, newest kv.Revision) kv.Revision {
	n := sort.Search(int(newest+1-first), func(i int) bool { // times do not fall as revisions rise
		e, err := s.next(ctx, ">", first+kv.Revision(i))
		return err != nil || !e.Created.Before(from)
	})
	return first + kv.Revision(n)
}
