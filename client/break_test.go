package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kvd/kv"
)

// outcomeIs ends the test unless err reports an unknown outcome of a write, with this
// cause.
func outcomeIs(t *testing.T, err error, cause any) {
	t.Helper()
	if !errors.Is(err, kv.ErrOutcomeUnknown) {
		t.Fatalf("error is %v, want one that matches %q", err, kv.ErrOutcomeUnknown)
	}
	switch cause := cause.(type) {
	case error:
		if !errors.Is(err, cause) {
			t.Fatalf("error is %v, want one that matches %q too", err, cause)
		}
	case **ConnError:
		if !errors.As(err, cause) {
			t.Fatalf("error is %v, want a ConnError in it", err)
		}
	}
}

// TestWriteIsNeverSentTwice breaks the connection between a write and its reply.
func TestWriteIsNeverSentTwice(t *testing.T) {
	writes := map[string]struct {
		lines []string
		call  func(ctx context.Context, b *Bucket) error
	}{
		"Put": {[]string{"PUT b k id=7 1", "v"}, func(ctx context.Context, b *Bucket) error {
			_, err := b.Put(ctx, "k", []byte("v"))
			return err
		}},
		"Create": {[]string{"CREATE b k ttl=1m0s id=7 1", "v"}, func(ctx context.Context, b *Bucket) error {
			_, err := b.Create(ctx, "k", []byte("v"), kv.KeyTTL(time.Minute))
			return err
		}},
		"Update": {[]string{"UPDATE b k 4 id=7 1", "v"}, func(ctx context.Context, b *Bucket) error {
			_, err := b.Update(ctx, "k", []byte("v"), 4)
			return err
		}},
		"Touch": {[]string{"TOUCH b k id=7"}, func(ctx context.Context, b *Bucket) error {
			_, err := b.Touch(ctx, "k")
			return err
		}},
		"Delete": {[]string{"DEL b k rev=4 id=7"}, func(ctx context.Context, b *Bucket) error {
			_, err := b.Delete(ctx, "k", kv.LastRevision(4))
			return err
		}},
		"Purge": {[]string{"PURGE b k id=7"}, func(ctx context.Context, b *Bucket) error {
			_, err := b.Purge(ctx, "k")
			return err
		}},
		"PurgeDeletes": {[]string{"PURGEDELETES b id=7"}, func(ctx context.Context, b *Bucket) error {
			return b.PurgeDeletes(ctx, 0)
		}},
		"CreateBucket": {[]string{"ADD b history=1 ttl=0s marker-ttl=15m0s max-value-size=1048576 max-bytes=-1 storage=file compression=no sync=always"}, func(ctx context.Context, b *Bucket) error {
			_, err := b.client.CreateBucket(ctx, kv.Config{Bucket: "b"})
			return err
		}},
		"DeleteBucket": {[]string{"RM b"}, func(ctx context.Context, b *Bucket) error {
			return b.client.DeleteBucket(ctx, "b")
		}},
	}
	for name, w := range writes {
		t.Run(name, func(t *testing.T) {
			s := play(t, func(s *session) {
				s.hello()
				s.want(w.lines...)
			}, func(s *session) {
				s.hello()
				s.want("PING")
				s.say("+OK")
				s.silence()
			})
			b := s.bucket(Options{})
			var broken *ConnError
			outcomeIs(t, w.call(t.Context(), b), &broken)
			if broken.Addr != scriptAddress {
				t.Errorf("the server is %q", broken.Addr)
			}
			if err := b.client.Ping(t.Context()); err != nil {
				t.Errorf("on the next connection: %v", err)
			}
		})
	}
}

// TestBucketMadeAndNotFound stops the server, with no return, between the two commands of
// CreateBucket.
func TestBucketMadeAndNotFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := play(t, func(s *session) {
			s.hello()
			s.line()
			s.say("+OK")
			s.want("INFO b")
		}).client(Options{MaxWait: time.Minute})
		_, err := c.CreateBucket(t.Context(), kv.Config{Bucket: "b"})
		outcomeIs(t, err, new(*ConnError))
	})
}

// TestReadIsSentAgain breaks the connection between a read and its reply.
func TestReadIsSentAgain(t *testing.T) {
	asked := func(s *session) {
		s.hello()
		s.want("GET b k id=7")
	}
	b := play(t, asked, asked, func(s *session) {
		asked(s)
		s.raw(entryReply("k", 3, "value"))
		s.silence()
	}).bucket(Options{})
	e, err := b.Get(t.Context(), "k")
	if err != nil || string(e.Value) != "value" || e.Revision != 3 || e.Bucket != "b" || e.Key != "k" {
		t.Errorf("entry is %+v, %v", e, err)
	}
}

// TestReadThatBreaksConnectionsIsGivenUp breaks the connection at each attempt of a read.
func TestReadThatBreaksConnectionsIsGivenUp(t *testing.T) {
	asked := func(s *session) {
		s.hello()
		s.want("GET b k id=7")
	}
	b := play(t, asked, asked, asked, func(s *session) {
		s.hello()
		s.silence()
	}).bucket(Options{})
	dst, _, err := b.GetAppend(t.Context(), []byte("prefix"), "k")
	var broken *ConnError
	if !errors.As(err, &broken) || !errors.Is(err, errHungUp) || errors.Is(err, kv.ErrOutcomeUnknown) {
		t.Errorf("error is %v", err)
	}
	if string(dst) != "prefix" {
		t.Errorf("dst is %q", dst)
	}
}

// TestCommandNotYetWrittenIsSentOnTheNextConnection breaks the connection while one
// command fills the socket and another waits behind it.
func TestCommandNotYetWrittenIsSentOnTheNextConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hangUp := make(chan struct{})
		b := play(t, func(s *session) {
			s.hello()
			<-hangUp
		}, func(s *session) {
			s.hello()
			s.want("PUT b second id=7 1", "2")
			s.say("+OK 12")
			s.silence()
		}).bucket(Options{})
		first := make(chan error, 1)
		go func() {
			_, err := b.Put(t.Context(), "first", []byte("1"))
			first <- err
		}()
		synctest.Wait() // the first command blocks in a write, since the server does not read
		second := make(chan error, 1)
		go func() {
			rev, err := b.Put(t.Context(), "second", []byte("2"))
			if rev != 12 {
				err = fmt.Errorf("revision %d, error %w", rev, err)
			}
			second <- err
		}()
		synctest.Wait()
		close(hangUp)
		outcomeIs(t, <-first, new(*ConnError))
		if err := <-second; err != nil {
			t.Errorf("the second: %v", err)
		}
	})
}

// TestServerThatGoesDown has a server that answers some of the commands, and reports that
// it did not carry out the others.
func TestServerThatGoesDown(t *testing.T) {
	for _, word := range []string{"SHUTDOWN : the server is shutting down", "CLOSED : store is closed"} {
		t.Run(strings.Fields(word)[0], func(t *testing.T) {
			b := play(t, func(s *session) {
				s.hello()
				s.want("PUT b k id=7 1", "v")
				s.say("-ERR %s", word)
				s.silence()
			}, func(s *session) {
				s.hello()
				s.want("PUT b k id=7 1", "v")
				s.say("+OK 5")
				s.silence()
			}).bucket(Options{})
			if rev, err := b.Put(t.Context(), "k", []byte("v")); rev != 5 || err != nil {
				t.Errorf("revision %d, %v", rev, err)
			}
		})
	}
}

// TestServerThatGoesDownIdle has a server that announces its shutdown while no call is
// under way. The next call makes another connection.
func TestServerThatGoesDownIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := play(t, func(s *session) {
			s.hello()
			s.say("-ERR SHUTDOWN : the server is shutting down")
		}, func(s *session) {
			s.hello()
			s.want("TOUCH b k id=7")
			s.say("+OK 5")
			s.silence()
		}).bucket(Options{})
		synctest.Wait()
		if rev, err := b.Touch(t.Context(), "k"); rev != 5 || err != nil {
			t.Errorf("revision %d, %v", rev, err)
		}
	})
}

// TestNoServer makes calls while no server listens.
func TestNoServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := play(t, func(s *session) { s.hello() })
		b := s.bucket(Options{BackoffMin: time.Millisecond, BackoffMax: time.Second, MaxWait: time.Minute})
		synctest.Wait()
		began := time.Now()
		_, err := b.Put(t.Context(), "k", nil)
		var broken *ConnError
		if !errors.As(err, &broken) || !errors.Is(err, errRefused) || errors.Is(err, kv.ErrOutcomeUnknown) {
			t.Errorf("error is %v", err)
		}
		if waited := time.Since(began); waited != time.Minute {
			t.Errorf("the call waited for %v, want MaxWait", waited)
		}
		if n := s.connections(); n < 50 || n > 140 {
			t.Errorf("%d attempts to connect in a minute of pauses up to a second", n)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := b.Put(ctx, "k", nil); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, kv.ErrOutcomeUnknown) {
			t.Errorf("error is %v", err)
		}
		s.then(answering(func(string) string { return "+OK 9\r\n" }))
		if rev, err := b.Put(t.Context(), "k", nil); rev != 9 || err != nil {
			t.Errorf("revision %d, %v, when the server is back", rev, err)
		}
	})
}

// TestServerRefusesTheClientLater has a server that refuses the client after a restart.
func TestServerRefusesTheClientLater(t *testing.T) {
	for name, refusal := range map[string]struct {
		session func(*session)
		want    error
	}{
		"needs a user": {func(s *session) {
			s.want("HELLO")
			s.raw(strings.Replace(helloReply, "auth=no", "auth=yes", 1) + "\r\n")
		}, ErrAuthRequired},
		"speaks another version": {func(s *session) {
			s.want("HELLO")
			s.say("+HELLO 2 server=test")
		}, kv.ErrVersion},
		"has another store": {func(s *session) {
			s.want("HELLO")
			s.raw(strings.Replace(helloReply, "0001", "ffff", 1) + "\r\n")
		}, errOtherStore},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := play(t, func(s *session) { s.hello() })
				b := s.bucket(Options{BackoffMin: time.Hour, BackoffMax: time.Hour, MaxWait: -1})
				synctest.Wait() // the first connection is lost
				s.then(refusal.session)
				_, err := b.Put(t.Context(), "k", nil)
				var broken *ConnError
				if !errors.Is(err, refusal.want) || !errors.As(err, &broken) {
					t.Errorf("error is %v, want one that matches %q", err, refusal.want)
				}
				s.then(answering(func(string) string { return "+OK 9\r\n" }))
				<-time.After(2 * time.Hour) // of the bubble's clock: past the next attempt
				if rev, err := b.Put(t.Context(), "k", nil); rev != 9 || err != nil {
					t.Errorf("revision %d, %v, when the server has changed its mind", rev, err)
				}
			})
		})
	}
}
