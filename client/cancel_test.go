package client

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"kvd/kv"
)

// TestCancelledCallThatWasNotWrittenIsWithdrawn cancels a write that waits behind one
// that fills the socket. It is not sent to the server.
func TestCancelledCallThatWasNotWrittenIsWithdrawn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goOn := make(chan struct{})
		b := play(t, func(s *session) {
			s.hello()
			<-goOn
			s.want("PUT b first id=7 1", "1", "PUT b third id=7 1", "3")
			s.say("+OK 1")
			s.say("+OK 2")
			s.silence()
		}).bucket(Options{})
		put := func(ctx context.Context, key, value string) <-chan error {
			done := make(chan error, 1)
			go func() {
				_, err := b.PutString(ctx, key, value)
				done <- err
			}()
			synctest.Wait()
			return done
		}
		ctx, cancel := context.WithCancel(t.Context())
		first := put(t.Context(), "first", "1")
		second := put(ctx, "second", "2")
		third := put(t.Context(), "third", "3")
		cancel()
		if err := <-second; !errors.Is(err, context.Canceled) || errors.Is(err, kv.ErrOutcomeUnknown) {
			t.Errorf("error is %v, want a plain %q", err, context.Canceled)
		}
		close(goOn)
		if err := errors.Join(<-first, <-third); err != nil {
			t.Error(err)
		}
	})
}

// TestCancelledCallLeavesTheConnectionGood cancels calls that were sent. Their replies
// are skipped when they arrive.
func TestCancelledCallLeavesTheConnectionGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goOn := make(chan struct{})
		s := play(t, func(s *session) {
			s.hello()
			s.want("PUT b k id=7 1", "v", "GET b k id=7", "GET b other id=7")
			<-goOn
			s.say("+OK 1")
			s.raw(entryReply("k", 1, "skipped"))
			s.raw(entryReply("other", 2, "value"))
			s.silence()
		})
		b := s.bucket(Options{})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := b.PutString(ctx, "k", "v")
			done <- err
		}()
		synctest.Wait()
		cancel()
		outcomeIs(t, <-done, context.Canceled)

		ctx, cancel = context.WithCancel(t.Context())
		dst := bytes.Repeat([]byte("-"), 64)
		go func() {
			_, _, err := b.GetAppend(ctx, dst[:0], "k")
			done <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) || errors.Is(err, kv.ErrOutcomeUnknown) {
			t.Errorf("error is %v, want a plain %q", err, context.Canceled)
		}
		close(goOn)
		if e, err := b.Get(t.Context(), "other"); err != nil || string(e.Value) != "value" {
			t.Errorf("entry is %+v, %v", e, err)
		}
		if string(dst) != string(bytes.Repeat([]byte("-"), 64)) {
			t.Error("a reply was written into the buffer of a call that had returned")
		}
		if n := s.connections(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

// TestCallWaitsForRoom fills the buffer of gathered commands, and cancels a call that
// waits for room in it.
func TestCallWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goOn := make(chan struct{})
		b := play(t, func(s *session) {
			s.hello()
			<-goOn
			for range 3 {
				s.line()
				s.line()
				s.say("+OK 1")
			}
			s.silence()
		}).bucket(Options{})
		done := make(chan error, 4)
		put := func(ctx context.Context, size int) {
			go func() {
				_, err := b.Put(ctx, "k", bytes.Repeat([]byte("v"), size))
				done <- err
			}()
			synctest.Wait()
		}
		put(t.Context(), 1)         // in the socket
		put(t.Context(), gatherMax) // gathered
		put(t.Context(), 1)         // waits
		ctx, cancel := context.WithCancel(t.Context())
		put(ctx, 1) // waits too
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) || errors.Is(err, kv.ErrOutcomeUnknown) {
			t.Errorf("error is %v, want a plain %q", err, context.Canceled)
		}
		close(goOn)
		for range 3 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}

// TestCancelledCallLeavesItsRoom cancels the call that filled the buffer of gathered
// commands, while another waits for room in it.
func TestCancelledCallLeavesItsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goOn := make(chan struct{})
		b := play(t, func(s *session) {
			s.hello()
			<-goOn
			s.want("TOUCH b first id=7")
			s.say("+OK 1")
			s.want("TOUCH b third id=7")
			s.say("+OK 2")
			s.silence()
		}).bucket(Options{})
		touch := func(key string) <-chan error {
			done := make(chan error, 1)
			go func() {
				_, err := b.Touch(t.Context(), key)
				done <- err
			}()
			synctest.Wait()
			return done
		}
		first := touch("first")
		ctx, cancel := context.WithCancel(t.Context())
		second := make(chan error, 1)
		go func() {
			_, err := b.Put(ctx, "second", make([]byte, gatherMax))
			second <- err
		}()
		synctest.Wait()
		third := touch("third")
		cancel()
		if err := <-second; !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v, want %q", err, context.Canceled)
		}
		synctest.Wait()
		close(goOn)
		if err := errors.Join(<-first, <-third); err != nil {
			t.Error(err)
		}
	})
}

// TestValuesAreCopiedBeforeReturn changes a value as soon as its cancelled call has
// returned. The server reads the value from before.
func TestValuesAreCopiedBeforeReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goOn := make(chan struct{})
		b := play(t, func(s *session) {
			s.hello()
			<-goOn
			s.want("PUT b k id=7 5", "value")
			s.say("+OK 1")
			s.want("PING")
			s.say("+OK")
			s.silence()
		}).bucket(Options{})
		ctx, cancel := context.WithCancel(t.Context())
		value := []byte("value")
		done := make(chan error, 1)
		go func() {
			_, err := b.Put(ctx, "k", value)
			done <- err
		}()
		synctest.Wait()
		cancel()
		outcomeIs(t, <-done, context.Canceled)
		clear(value)
		close(goOn)
		if err := b.client.Ping(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
