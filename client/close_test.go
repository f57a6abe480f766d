package client

import (
	"context"
	"errors"
	"os"
	"runtime/pprof"
	"strings"
	"testing"
	"testing/synctest"

	"kvd/kv"
)

// TestMain fails if a goroutine of a client still runs after the tests. It need not wait
// for them, because Close does.
func TestMain(m *testing.M) {
	code := m.Run()
	var stacks strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&stacks, 2)
	for stack := range strings.SplitSeq(stacks.String(), "\n\n") {
		if strings.Contains(stack, "kvd/client.(") {
			println("leaked:\n" + stack)
			code = 1
		}
	}
	os.Exit(code)
}

// TestCloseEndsWhatIsUnderWay closes a client while a call of each kind waits.
func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sent := make(chan struct{})
		s := play(t, func(s *session) {
			s.hello()
			s.want("GET b k id=7", "DEL b k id=7")
			close(sent)
			<-t.Context().Done() // the session reads nothing more
		}, func(s *session) {
			s.hello()
			s.want("KEYS b > id=7")
			s.say("+KEY a")
			s.silence()
		}, watching(5, "", endsWith(synced)))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		c, err := Dial(ctx, scriptAddress, Options{Dialer: s})
		if err != nil {
			t.Fatal(err)
		}
		c.watches.usual = 0 // the third connection has the watch for good
		b := &Bucket{client: c, name: "b", id: 7}
		results := map[string]chan error{}
		begin := func(name string, call func() error) {
			results[name] = make(chan error, 1)
			go func() { results[name] <- call() }()
			synctest.Wait()
		}
		begin("read", func() error {
			_, err := b.Get(t.Context(), "k")
			return err
		})
		begin("write", func() error {
			_, err := b.Delete(t.Context(), "k")
			return err
		})
		<-sent
		begin("write in the socket", func() error {
			_, err := b.Touch(t.Context(), "k")
			return err
		})
		begin("write not sent", func() error {
			_, err := b.Touch(t.Context(), "k")
			return err
		})
		begin("listing", func() error { return drain(b.Keys(t.Context())) })
		begin("watch", func() error {
			w, err := b.Watch(t.Context(), nil)
			if err != nil {
				return err
			}
			_, err = events(w)
			return err
		})
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		for name, result := range results {
			err := <-result
			if !errors.Is(err, kv.ErrClosed) {
				t.Errorf("%s: error is %v, want one that matches %q", name, err, kv.ErrClosed)
			}
			sent := name == "write" || name == "write in the socket"
			if errors.Is(err, kv.ErrOutcomeUnknown) != sent {
				t.Errorf("%s: error is %v; that the outcome is unknown should be %v", name, err, sent)
			}
		}
		if err := c.Close(); !errors.Is(err, kv.ErrClosed) {
			t.Errorf("second close: %v", err)
		}
		if _, err := b.Watch(t.Context(), nil); !errors.Is(err, kv.ErrClosed) {
			t.Errorf("watch after close: %v", err)
		}
		if err := c.Submit(t.Context(), puts(2, 0)); !errors.Is(err, kv.ErrClosed) {
			t.Errorf("submit after close: %v", err)
		}
	})
}

// TestCloseWhileConnecting closes a client whose server cannot be reached, and one in the
// middle of the greeting.
func TestCloseWhileConnecting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, sessions := range map[string][]func(*session){
			"server away":    {func(s *session) { s.hello() }},
			"server is mute": {func(s *session) { s.hello() }, func(s *session) { s.want("HELLO"); s.silence() }},
		} {
			c := play(t, sessions...).client(Options{})
			result := make(chan error)
			go func() { result <- c.Ping(t.Context()) }()
			synctest.Wait()
			if err := c.Close(); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if err := <-result; !errors.Is(err, kv.ErrClosed) || errors.Is(err, kv.ErrOutcomeUnknown) {
				t.Errorf("%s: error is %v", name, err)
			}
		}
	})
}
