package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"kvd/kv"
	"kvd/kv/msglog"
)

// puts returns mutations of the keys k0, k1, …
func puts(n, size int) []kv.Mutation {
	ms := make([]kv.Mutation, n)
	for i := range ms {
		ms[i] = kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: fmt.Sprint("k", i), Value: make([]byte, size)}
	}
	return ms
}

// wantPuts reads the PUTs of k<from> up to k<to>.
func (s *session) wantPuts(from, to int) {
	for i := from; i < to; i++ {
		s.want(fmt.Sprintf("PUT b k%d 0", i), "")
	}
}

// describe returns the results of mutations: the revision, ? for an unknown outcome, !
// for a mutation that was not carried out, and - for a refusal.
func describe(ms []kv.Mutation) string {
	var all []string
	for _, m := range ms {
		switch {
		case m.Err == nil:
			all = append(all, fmt.Sprint(m.Revision))
		case m.Revision != 0:
			all = append(all, "both revision and error")
		case errors.Is(m.Err, kv.ErrOutcomeUnknown):
			all = append(all, "?")
		case errors.As(m.Err, new(*ConnError)), errors.Is(m.Err, context.Canceled), errors.Is(m.Err, kv.ErrClosed):
			all = append(all, "!")
		default:
			all = append(all, "-")
		}
	}
	return strings.Join(all, " ")
}

func TestSubmitWhenTheConnectionBreaks(t *testing.T) {
	for name, tt := range map[string]struct {
		sessions []func(*session)
		want     string
		err      error
	}{
		"among the replies": {
			sessions: []func(*session){func(s *session) {
				s.hello()
				s.wantPuts(0, 5)
				s.raw("+OK 1\r\n-ERR BUCKET_FULL : b\r\n")
			}, idle},
			want: "1 - ? ? ?", err: kv.ErrOutcomeUnknown,
		},
		"because the server goes down": {
			sessions: []func(*session){func(s *session) {
				s.hello()
				s.wantPuts(0, 5)
				s.raw("+OK 1\r\n+OK 2\r\n-ERR SHUTDOWN : the server is shutting down\r\n")
			}, func(s *session) {
				s.hello()
				s.wantPuts(2, 5)
				s.raw("+OK 3\r\n+OK 4\r\n+OK 5\r\n")
				s.silence()
			}},
			want: "1 2 3 4 5",
		},
		"because the server goes down time and again": {
			sessions: []func(*session){
				down(0), down(0), down(0), func(s *session) {
					s.hello()
					s.silence()
				},
			},
			want: "! ! ! ! !", err: errAny,
		},
		"because the server makes no sense": {
			sessions: []func(*session){func(s *session) {
				s.hello()
				s.wantPuts(0, 5)
				s.raw("+OK 1\r\n+KEY k1\r\n")
			}, idle},
			want: "1 ? ? ? ?", err: kv.ErrOutcomeUnknown,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := play(t, tt.sessions...).client(Options{})
				ms := puts(5, 0)
				err := c.Submit(t.Context(), ms)
				if got := describe(ms); got != tt.want {
					t.Errorf("outcomes are %s, want %s", got, tt.want)
				}
				if tt.err == errAny && err == nil || tt.err != errAny && !errors.Is(err, tt.err) {
					t.Errorf("error is %v, want one that matches %v", err, tt.err)
				}
			})
		})
	}
}

var errAny = errors.New("any error")

// down is a session that reads the mutations from the n-th on, and carries none of them
// out.
func down(n int) func(*session) {
	return func(s *session) {
		s.hello()
		s.wantPuts(n, 5)
		s.say("-ERR SHUTDOWN : the server is shutting down")
	}
}

// TestSubmitIsCancelledBeforeItIsSent ends the context while the mutations are gathered
// behind a command that fills the socket. None of them is sent.
func TestSubmitIsCancelledBeforeItIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goOn := make(chan struct{})
		c := play(t, func(s *session) {
			s.hello()
			<-goOn
			for range 2 {
				s.want("PING")
				s.say("+OK")
			}
			s.silence()
		}).client(Options{})
		done := make(chan error)
		go func() { done <- c.Ping(t.Context()) }()
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		ms := puts(2*runCount+5, 0)
		go func() { done <- c.Submit(ctx, ms) }()
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) || errors.Is(err, kv.ErrOutcomeUnknown) {
			t.Errorf("error is %v, want a plain %q", err, context.Canceled)
		}
		if got := describe(ms); strings.Trim(got, " !") != "" {
			t.Errorf("outcomes are %.100s…, want ! alone", got)
		}
		close(goOn)
		if err := errors.Join(<-done, c.Ping(t.Context())); err != nil {
			t.Error(err)
		}
	})
}

// TestSubmitIsCancelledAmongTheReplies ends the context when some of the replies have
// arrived. The others are skipped, and the client no longer changes the mutations.
func TestSubmitIsCancelledAmongTheReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goOn := make(chan struct{})
		c := play(t, func(s *session) {
			s.hello()
			s.wantPuts(0, 5)
			s.raw("+OK 1\r\n+OK 2\r\n")
			<-goOn
			s.raw("+OK 3\r\n+OK 4\r\n+OK 5\r\n")
			s.want("PING")
			s.say("+OK")
			s.silence()
		}).client(Options{})
		ctx, cancel := context.WithCancel(t.Context())
		ms := puts(5, 0)
		done := make(chan error)
		go func() { done <- c.Submit(ctx, ms) }()
		synctest.Wait()
		cancel()
		outcomeIs(t, <-done, context.Canceled)
		close(goOn)
		if err := c.Ping(t.Context()); err != nil {
			t.Error(err)
		}
		if got, want := describe(ms), "1 2 ? ? ?"; got != want {
			t.Errorf("outcomes are %s, want %s", got, want)
		}
	})
}

func TestSubmitLeavesRefusedMutationsOut(t *testing.T) {
	c := play(t, func(s *session) {
		s.hello()
		s.want("UPDATE b k 4 1", "v", "DEL b k rev=0", "DEL b k", "PURGE b k ttl=1s rev=3", "CREATE b k ttl=2s 0", "", "TOUCH b k")
		s.raw("+OK 1\r\n-ERR REVISION_MISMATCH actual=9 expected=0 : k\r\n+OK 3\r\n+OK 4\r\n-ERR KEY_EXISTS actual=9 : k\r\n+OK 6\r\n")
		s.silence()
	}).client(Options{})
	ms := []kv.Mutation{
		{Bucket: "b", Op: kv.MutateUpdate, Key: "k", Value: []byte("v"), Last: 4},
		{Bucket: "b", Op: kv.MutatePut, Key: "a b"},
		{Bucket: "b", Op: kv.MutateDelete, Key: "k", IfLast: true},
		{Bucket: "b", Op: kv.MutateDelete, Key: "k", Last: 5},
		{Bucket: "no name", Op: kv.MutatePut, Key: "k"},
		{Bucket: "b", Op: kv.MutatePurge, Key: "k", Last: 3, IfLast: true, TTL: 1e9},
		{Bucket: "b", Op: 77, Key: "k"},
		{Bucket: "b", Op: kv.MutateCreate, Key: "k", TTL: 2e9},
		{Bucket: "b", Op: kv.MutatePut, Key: "k", IfNewest: true},
		{Bucket: "b", Op: msglog.Append, Key: "k"},
		{Bucket: "b", Op: kv.MutateTouch, Key: "k"},
	}
	if err := c.Submit(t.Context(), ms); err != nil {
		t.Error(err)
	}
	if got, want := describe(ms), "1 - - 3 - 4 - - - - 6"; got != want {
		t.Errorf("outcomes are %s, want %s", got, want)
	}
	var mismatch *kv.RevisionMismatchError
	if !errors.As(ms[2].Err, &mismatch) || mismatch.Got != 9 || mismatch.Key != "k" {
		t.Errorf("refusal is %#v", ms[2].Err)
	}
	for _, i := range []int{8, 9} {
		if !errors.Is(ms[i].Err, kv.ErrNotSupported) {
			t.Errorf("mutation %d: %v, want %v", i, ms[i].Err, kv.ErrNotSupported)
		}
	}
}

func TestRunLength(t *testing.T) {
	for _, tt := range []struct{ n, size, want int }{
		{1, 0, 1},
		{runCount, 0, runCount},
		{runCount + 1, 0, runCount},
		{3, runBytes, 1},
		{3, runBytes / 2, 1},
		{3, runBytes/2 - 2, 2},
		{3, runBytes/3 - 2, 3},
	} {
		ms := puts(tt.n, tt.size)
		var all []*kv.Mutation
		for i := range ms {
			all = append(all, &ms[i])
		}
		if got := runLength(all); got != tt.want {
			t.Errorf("of %d mutations with values of %d bytes %d go together, want %d", tt.n, tt.size, got, tt.want)
		}
	}
}
