package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"kvd/kv"
)

// collect reads a sequence up to its end or its first error.
func collect[V any](seq iter.Seq2[V, error]) ([]V, error) {
	var all []V
	for v, err := range seq {
		if err != nil {
			return all, err
		}
		all = append(all, v)
	}
	return all, nil
}

func drain[V any](seq iter.Seq2[V, error]) error {
	_, err := collect(seq)
	return err
}

// idle is a session of the connection that calls share. No call uses it.
func idle(s *session) {
	s.hello()
	s.silence()
}

func TestListingsKeepTheirConnection(t *testing.T) {
	s := play(t, idle, func(s *session) {
		s.hello()
		s.want("KEYS b a.*,b id=7")
		s.raw("+KEY a.a\r\n+KEY b\r\n+END 2\r\n")
		s.want("HISTORY b k id=7")
		s.say("-ERR KEY_NOT_FOUND : k")
		s.want("BUCKETS")
		s.raw("+BUCKET b\r\n+END 1\r\n")
		s.want("BUCKETS status=yes")
		s.raw("+INFO b id=7 revision=5 history=3\r\n+END 1\r\n")
		s.silence()
	})
	b := s.bucket(Options{})
	if keys, err := collect(b.Keys(t.Context(), "a.*", "b")); err != nil || !slices.Equal(keys, []string{"a.a", "b"}) {
		t.Errorf("keys are %q, %v", keys, err)
	}
	if err := drain(b.History(t.Context(), "k")); !errors.Is(err, kv.ErrKeyNotFound) {
		t.Errorf("history: %v", err)
	}
	if names, err := collect(b.client.BucketNames(t.Context())); err != nil || !slices.Equal(names, []string{"b"}) {
		t.Errorf("names are %q, %v", names, err)
	}
	if all, err := collect(b.client.Buckets(t.Context())); err != nil || len(all) != 1 || all[0].ID != 7 || all[0].Config.History != 3 {
		t.Errorf("buckets are %+v, %v", all, err)
	}
	if n := s.connections(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

func TestHistoryGoesOnAfterADamagedEntry(t *testing.T) {
	b := play(t, idle, func(s *session) {
		s.hello()
		s.want("HISTORY b k id=7")
		s.raw("+ENTRY k 1 PUT " + created + " delta=2 1\r\n1\r\n")
		s.say("+LOST k 2 PUT %s delta=1 CORRUPT file=f offset=8 detail=checksum : damaged", created)
		s.raw("+ENTRY k 3 DEL " + created + " 0\r\n\r\n")
		s.say("+END 3")
		s.silence()
	}).bucket(Options{})
	var got []string
	for e, err := range b.History(t.Context(), "k") {
		got = append(got, fmt.Sprintf("%s %d %v %q %d %v", e.Key, e.Revision, e.Operation, e.Value, e.Delta, errors.Is(err, kv.ErrCorrupt)))
	}
	want := []string{`k 1 PUT "1" 2 false`, `k 2 PUT "" 1 true`, `k 3 DEL "" 0 false`}
	if !slices.Equal(got, want) {
		t.Errorf("history is %q, want %q", got, want)
	}
}

// keysUntil sends keys until the client hangs up.
func keysUntil(s *session) {
	s.hello()
	s.want("KEYS b > id=7")
	for i := 0; ; i++ {
		if _, err := fmt.Fprintf(s, "+KEY key.%06d\r\n", i); err != nil {
			return
		}
	}
}

func TestListingLeftEarlyEndsItsConnection(t *testing.T) {
	b := play(t, idle, keysUntil, keysUntil).bucket(Options{})
	for key, err := range b.Keys(t.Context()) {
		if err != nil || key != "key.000000" {
			t.Errorf("first key is %q, %v", key, err)
		}
		break
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	for _, err := range b.Keys(ctx) {
		if n++; n == 3 {
			cancel()
		}
		if n == 4 && !errors.Is(err, context.Canceled) || n < 4 && err != nil {
			t.Errorf("key %d: %v", n, err)
		}
	}
	if n != 4 {
		t.Errorf("%d keys and errors after a cancellation at the third", n)
	}
}

// TestSlowConsumerHoldsUpNobody lists more keys than the client reads ahead. It makes
// calls while the consumer of the listing takes nothing.
func TestSlowConsumerHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const readAhead = 1000
		sent := 0
		b := play(t, answering(func(string) string { return "+OK 5\r\n" }), func(s *session) {
			s.hello()
			s.want("KEYS b > id=7")
			for ; sent < 1000; sent++ {
				s.say("+KEY key.%06d", sent)
			}
			s.say("+END 1000")
			s.silence()
		}).bucket(Options{ReadAhead: readAhead})
		n := 0
		for key, err := range b.Keys(t.Context()) {
			if err != nil || key != fmt.Sprintf("key.%06d", n) {
				t.Fatalf("key %d is %q, %v", n, key, err)
			}
			if n++; n > 1 {
				continue
			}
			synctest.Wait() // until the server blocks in a write
			if held := sent * len(key); held < readAhead/2 || held > 3*readAhead {
				t.Errorf("%d bytes are read ahead", held)
			}
			if rev, err := b.Touch(t.Context(), "k"); rev != 5 || err != nil {
				t.Errorf("beside the listing: revision %d, %v", rev, err)
			}
		}
		if n != 1000 {
			t.Errorf("%d keys", n)
		}
	})
}

func TestListingThatBreaksBeforeItBeganIsBegunAnew(t *testing.T) {
	b := play(t, idle, func(s *session) {
		s.hello()
		s.want("KEYS b > id=7")
	}, func(s *session) {
		s.hello()
		s.want("KEYS b > id=7")
		s.say("-ERR SHUTDOWN : the server is shutting down")
	}, func(s *session) {
		s.hello()
		s.want("KEYS b > id=7")
		s.raw("+KEY a\r\n+END 1\r\n")
		s.silence()
	}).bucket(Options{})
	if keys, err := collect(b.Keys(t.Context())); err != nil || !slices.Equal(keys, []string{"a"}) {
		t.Errorf("keys are %q, %v", keys, err)
	}
}

func TestListingThatBreaksLaterEndsWithAnError(t *testing.T) {
	for name, end := range map[string]string{
		"hung up":         "",
		"shutdown":        "-ERR SHUTDOWN : the server is shutting down\r\n",
		"another reply":   "+OK\r\n",
		"no reply at all": "what\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			b := play(t, idle, func(s *session) {
				s.hello()
				s.want("KEYS b > id=7")
				s.raw("+KEY a\r\n" + end)
			}).bucket(Options{})
			keys, err := collect(b.Keys(t.Context()))
			if !errors.As(err, new(*ConnError)) || !slices.Equal(keys, []string{"a"}) {
				t.Errorf("keys are %q, %v", keys, err)
			}
		})
	}
}

// TestPatternsThatDoNotFitAreMatchedHere lists with more patterns than a line has room
// for.
func TestPatternsThatDoNotFitAreMatchedHere(t *testing.T) {
	patterns := []string{"wanted.*"}
	for i := range 100 {
		patterns = append(patterns, fmt.Sprintf("%d.%s", i, strings.Repeat("x", 100)))
	}
	b := play(t, idle, func(s *session) {
		s.hello()
		s.want("KEYS b > id=7")
		s.raw("+KEY other\r\n+KEY wanted.1\r\n+KEY wanted.1.2\r\n+END 3\r\n")
		s.silence()
	}).bucket(Options{})
	if keys, err := collect(b.Keys(t.Context(), patterns...)); err != nil || !slices.Equal(keys, []string{"wanted.1"}) {
		t.Errorf("keys are %q, %v", keys, err)
	}
	if _, err := b.Count(t.Context(), patterns...); !errors.Is(err, kv.ErrInvalidPattern) {
		t.Errorf("count: %v", err)
	}
}

// TestLongestPatternsFitInALine sends the longest patterns that the client puts in a
// line.
func TestLongestPatternsFitInALine(t *testing.T) {
	var patterns []string
	for size := 0; size < patternsMax; {
		p := strings.Repeat("p", min(kv.MaxKeySize, patternsMax-size-1))
		if p == "" {
			break
		}
		patterns = append(patterns, p)
		size += len(p) + 1
	}
	b := play(t, answering(func(string) string { return "+OK 3\r\n" })).bucket(Options{})
	b.name, b.id = strings.Repeat("n", kv.MaxBucketNameSize), 1<<64-1
	stale := kv.WithStale(t.Context())
	if n, err := b.Count(stale, patterns...); n != 3 || err != nil {
		t.Errorf("count is %d, %v", n, err)
	}
	w := watcher{bucket: b, parent: stale, patterns: strings.Join(patterns, ",")}
	w.options = kv.WatchOptions{IncludeHistory: true, IgnoreDeletes: true, MetaOnly: true}
	k := b.client.calls.get(0)
	k.command = w.command(1<<64-1, 1<<64-1)
	if _, err := k.appendCommands(nil); err != nil {
		t.Error(err)
	}
}
