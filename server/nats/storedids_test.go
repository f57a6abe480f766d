package nats

import (
	"context"
	"fmt"
	"testing"
	"time"

	"kvd/bucket"
	"kvd/kv"
	"kvd/kv/msglog"
	"kvd/server"
)

// TestARepeatedMessageOfBeforeARestart publishes messages, opens the store again, and
// repeats them, as a client does that got no acknowledgement.
func TestARepeatedMessageOfBeforeARestart(t *testing.T) {
	dir := t.TempDir()
	put := func(key, id string) string {
		return fmt.Sprintf(`> HPUB $KV.b.%s i {h} {n}\r\nNATS/1.0\r\nNats-Msg-Id: %s\r\n\r\nv`, key, id)
	}
	ack := func(seq int) string { return fmt.Sprintf(`< MSG i 1 {n}\r\n{"stream":"KV_b","seq":%d}`, seq) }
	twice := func(seq int) string {
		return fmt.Sprintf(`< MSG i 1 {n}\r\n{"stream":"KV_b","seq":%d,"duplicate": true}`, seq)
	}
	for n, lines := range [][]string{
		{
			`> PUB $JS.API.STREAM.CREATE.KV_b i {n}\r\n{"name":"KV_b","subjects":["$KV.b.>"],"max_msgs_per_subject":2}`, "< MSG…",
			put("k", "one"), ack(1), put("k", "two"), ack(2), put("l", "three"), ack(3), put("k", "four"), ack(4),
			put("k", "two"), twice(2), put("k", "one"), twice(1),
		},
		{
			put("k", "two"), twice(2), put("other", "three"), twice(3), put("k", "four"), twice(4),
			put("k", "one"), ack(5), // its record is gone
			put("k", "one"), twice(5), put("k", "five"), ack(6),
		},
		{put("k", "five"), twice(6), put("k", "four"), ack(7)},
	} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			store, err := bucket.Open(dir, bucket.Options{})
			if err != nil {
				t.Fatal(err)
			}
			_, addr := listen(t, store, store, server.Options{})
			exchange(t, dial(t, addr), append([]string{`> CONNECT {"verbose":false,"headers":true}`, "> SUB i 1"}, lines...)...)
		})
	}
}

// TestIDsEndWithTheirBucket deletes a bucket and creates it again without the front end.
// The old message ids are free then.
func TestIDsEndWithTheirBucket(t *testing.T) {
	store, err := bucket.Open(t.TempDir(), bucket.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, addr := listen(t, store, store, server.Options{})
	p := dial(t, addr)
	exchange(t, p, `> CONNECT {"verbose":false,"headers":true}`, "> SUB i 1")
	for range 2 {
		if _, err := store.CreateBucket(t.Context(), kv.Config{Bucket: "b"}); err != nil {
			t.Fatal(err)
		}
		exchange(t, p, `> HPUB $KV.b.k i {h} {n}\r\nNATS/1.0\r\nNats-Msg-Id: one\r\n\r\nv`, `< MSG i 1 {n}\r\n{"stream":"KV_b","seq":1}`)
		if err := store.DeleteBucket(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
	}
}

// TestStoredMsgIDs tests the bounds of the messages whose ids are read: the duplicate
// window and the newest revisions.
func TestStoredMsgIDs(t *testing.T) {
	ctx := t.Context()
	store, err := bucket.Open(t.TempDir(), bucket.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	b, err := store.CreateBucket(ctx, kv.Config{Bucket: "b", History: 64})
	if err != nil {
		t.Fatal(err)
	}
	const messages = 40
	s := &stream{bucket: b, records: b.(msglog.Log), name: "b"}
	ids := func(from, to time.Time) (ids string) {
		t.Helper()
		found, err := s.storedMsgIDs(ctx, from, to)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range found {
			ids += fmt.Sprint(m.id, "@", m.seq, " ")
		}
		return ids
	}
	if got := ids(time.Time{}, time.Now()); got != "" {
		t.Errorf("of an empty bucket: %q", got)
	}
	var times []time.Time // by revision
	var want string
	for i := range messages {
		m := []kv.Mutation{{Bucket: "b", Op: kv.MutatePut, Key: "k", Headers: fmt.Appendf(nil, "NATS/1.0\r\nNats-Msg-Id: %d\r\n\r\n", i)}}
		if i%2 == 1 {
			m[0].Headers = nil
		} else {
			want += fmt.Sprint(i, "@", i+1, " ")
		}
		if err := store.Submit(ctx, m); err != nil || m[0].Err != nil {
			t.Fatal(err, m[0].Err)
		}
		e, err := s.at(ctx, kv.Revision(i+1))
		if err != nil {
			t.Fatal(err)
		}
		times = append(times, e.Created)
	}
	end := times[messages-1].Add(1)
	if got := ids(time.Time{}, end); got != want {
		t.Errorf("all: %q, want %q", got, want)
	}
	for i := 0; i < messages; i += 2 { // those at one time cannot be told from each other
		if got := ids(times[i], times[i].Add(1)); (i == 0 || times[i-1].Before(times[i])) && (times[i].Before(times[i+1])) && got != fmt.Sprint(i, "@", i+1, " ") {
			t.Errorf("of the time of revision %d: %q", i+1, got)
		}
	}
	if got := ids(end, end); got != "" {
		t.Errorf("of later: %q", got)
	}
	if first, err := s.firstSince(ctx, time.Time{}, firstLoaded(loadMax+7), loadMax+7); err != nil || first != 8 {
		t.Errorf("of many the first is %d, want 8", first)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.storedMsgIDs(cancelled, time.Time{}, end); err == nil {
		t.Error("no error with a context that has ended")
	}
}
