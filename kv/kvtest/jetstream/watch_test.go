package jetstream_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"kvd/kv"
)

// put writes a value that says nothing.
func put(t *testing.T, b kv.Bucket, keys ...string) {
	t.Helper()
	for _, key := range keys {
		if _, err := b.Put(t.Context(), key, []byte("v")); err != nil {
			t.Fatal(err)
		}
	}
}

// next returns the next n events of a watch as text.
func next(t *testing.T, w kv.Watcher, n int) (events []string) {
	t.Helper()
	for range n {
		u, open := <-w.Updates()
		switch {
		case !open:
			t.Fatalf("the watch ended after %q: %v", events, w.Err())
		case u.Entry == nil:
			events = append(events, "end of the initial")
		default:
			events = append(events, fmt.Sprintf("%v %s %d", u.Entry.Operation, u.Entry.Key, u.Entry.Revision))
		}
	}
	return events
}

func TestWatch(t *testing.T) {
	tests := map[string]struct {
		patterns []string
		options  []kv.WatchOption
		want     []string // with a at 1 and 2, b.c at 3, d at 4 deleted at 5; then b.e at 6
	}{
		"everything": {
			want: []string{"PUT a 2", "PUT b.c 3", "DEL d 5", "end of the initial", "PUT b.e 6"},
		},
		"one pattern": {
			patterns: []string{"b.*"},
			want:     []string{"PUT b.c 3", "end of the initial", "PUT b.e 6"},
		},
		"patterns apart": {
			patterns: []string{"a", "b.*"},
			want:     []string{"PUT a 2", "PUT b.c 3", "end of the initial", "PUT b.e 6"},
		},
		"patterns that overlap": {
			patterns: []string{"b.*", "*.c", "b.e"},
			want:     []string{"PUT b.c 3", "end of the initial", "PUT b.e 6"},
		},
		"nothing matches": {
			patterns: []string{"*.e"},
			want:     []string{"end of the initial", "PUT b.e 6"},
		},
		"history": {
			options: []kv.WatchOption{kv.IncludeHistory()},
			want:    []string{"PUT a 1", "PUT a 2", "PUT b.c 3", "PUT d 4", "DEL d 5", "end of the initial", "PUT b.e 6"},
		},
		"updates only": {
			options: []kv.WatchOption{kv.UpdatesOnly()},
			want:    []string{"PUT b.e 6"},
		},
		"no deletes": {
			options: []kv.WatchOption{kv.IgnoreDeletes()},
			want:    []string{"PUT a 2", "PUT b.c 3", "end of the initial", "PUT b.e 6"},
		},
		"resumed": {
			options: []kv.WatchOption{kv.ResumeFromRevision(4)},
			want:    []string{"PUT d 4", "DEL d 5", "end of the initial", "PUT b.e 6"},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b, _ := both(t, "b")
			put(t, b, "a", "a", "b.c", "d")
			if _, err := b.Delete(t.Context(), "d"); err != nil {
				t.Fatal(err)
			}
			w, err := b.Watch(t.Context(), tt.patterns, tt.options...)
			if err != nil {
				t.Fatal(err)
			}
			got := next(t, w, len(tt.want)-1)
			put(t, b, "b.e")
			got = append(got, next(t, w, 1)...)
			if !slices.Equal(got, tt.want) {
				t.Errorf("events are %q, want %q", got, tt.want)
			}
			if err := w.Stop(); err != nil {
				t.Error(err)
			}
			for range w.Updates() { // until it is closed
			}
			if err := w.Err(); err != nil {
				t.Errorf("the watch was stopped, its error is %v", err)
			}
		})
	}
}

func TestWatchEndsWithItsContext(t *testing.T) {
	b, _ := both(t, "b")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w, err := b.Watch(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	var last error
	for u, err := range w.All() {
		if last = err; err == nil && u.Entry == nil {
			cancel()
		}
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("the watch ended with %v", last)
	}
}

func TestWatchResumesInTheSameBucketOnly(t *testing.T) {
	b, _ := both(t, "b")
	st, err := b.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	w, err := b.Watch(t.Context(), nil, kv.ResumeBucketID(st.ID))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Stop(); err != nil {
		t.Error(err)
	}
	if _, err := b.Watch(t.Context(), nil, kv.ResumeBucketID(st.ID+1)); !errors.Is(err, kv.ErrBucketNotFound) {
		t.Errorf("resumed in another bucket: %v", err)
	}
}

// TestTTLReachesTheServer checks what every kind of write asks of it.
func TestTTLReachesTheServer(t *testing.T) {
	ctx := t.Context()
	o := start(t, t.TempDir())
	b, err := o.CreateBucket(ctx, kv.Config{Bucket: "b"})
	if err != nil {
		t.Fatal(err)
	}
	stream, err := o.js.Stream(ctx, "KV_b")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Put(ctx, "k", nil, kv.KeyTTL(10*time.Nanosecond)); !errors.Is(err, kv.ErrInvalidOption) {
		t.Errorf("a TTL of 10 ns: %v", err)
	}
	hour := kv.KeyTTL(time.Hour)
	for _, write := range []func() (kv.Revision, error){
		func() (kv.Revision, error) { return b.Put(ctx, "k", nil, hour) },
		func() (kv.Revision, error) { return b.Touch(ctx, "k", hour) },
		func() (kv.Revision, error) { return b.Create(ctx, "l", nil, hour) },
		func() (kv.Revision, error) { return b.Purge(ctx, "m", kv.PurgeTTL(time.Hour)) },
	} {
		if _, err := write(); err != nil {
			t.Error(err)
		}
	}
	for key, want := range map[string]string{"k": "1h0m0s", "l": "1h0m0s", "m": "1h0m0s"} {
		msg, err := stream.GetLastMsgForSubject(ctx, "$KV.b."+key)
		if err != nil {
			t.Fatal(err)
		}
		if got := msg.Header.Get("Nats-TTL"); got != want {
			t.Errorf("TTL of %q is %q, want %q", key, got, want)
		}
	}
}

func TestIntervalSyncIsNotSupported(t *testing.T) {
	o := start(t, t.TempDir())
	_, err := o.CreateBucket(t.Context(), kv.Config{Bucket: "b", Sync: kv.SyncInterval})
	if !errors.Is(err, kv.ErrNotSupported) {
		t.Errorf("error is %v", err)
	}
}
