package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"kvd/kv"
)

// shared answers the INFO and the WATCH of the next watch on a shared connection.
func (s *session) shared(number, revision int, options string) {
	s.want("INFO b id=7")
	s.raw(fmt.Sprintf("+INFO b id=7 revision=%d\r\n", revision))
	s.want(strings.ReplaceAll(fmt.Sprintf("WATCH %d b > %s id=7", number, options), "  ", " "))
	s.raw("+OK\r\n")
}

// rest reads until the client hangs up.
func (s *session) rest() { _, _ = io.Copy(io.Discard, s.r) }

// of returns lines of watch 1 as those of another watch.
func of(number int, lines ...string) string {
	text := strings.Join(lines, "")
	for _, word := range []string{"EVENT", "SYNCED", "END"} {
		text = strings.ReplaceAll(text, word+" 1", fmt.Sprint(word, " ", number))
	}
	return text
}

// put is the EVENT of a put after the initial entries.
func put(key string, revision int) string { return eventReply(key, revision, 0, "v") }

// sharing returns the bucket of a client whose watches share connections.
func (s *script) sharingBucket(opts Options) *Bucket {
	return &Bucket{client: s.sharing(opts), name: "b", id: 7}
}

// wantEvents receives until the watch has had these events.
func wantEvents(t *testing.T, w kv.Watcher, want ...string) {
	t.Helper()
	for _, want := range want {
		u, open := <-w.Updates()
		got := "the end"
		switch {
		case open && u.Entry == nil:
			got = "synced"
		case open:
			got = fmt.Sprintf("%s@%d", u.Entry.Key, u.Entry.Revision)
		}
		if got != want {
			t.Fatalf("the event is %s, want %s; %v", got, want, w.Err())
		}
	}
}

// TestWatchMovesToASharedConnection checks that the events of both connections come once
// and in order, and that the first connection is used by the next watch.
func TestWatchMovesToASharedConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		more := make(chan string)
		b := play(t, idle, watching(5, "", func(s *session) {
			s.raw(eventReply("a", 4, 0, "v") + synced)
			s.want("UNWATCH 1")
			s.raw(put("a", 6) + put("a", 7) + "+OK\r\n")
			s.want("INFO b id=7", "WATCH 1 b > id=7")
			s.raw("+INFO b id=7 revision=9\r\n+OK\r\n" + eventReply("a", 9, 0, "v") + synced)
			s.want("UNWATCH 1")
			s.raw("+OK\r\n")
			s.rest()
		}), func(s *session) {
			s.hello()
			s.shared(1, 6, "from=6")
			s.raw(put("a", 6) + synced + put("a", 7) + put("a", 8))
			s.shared(2, 9, "from=10")
			s.raw(of(2, synced))
			for text := range more {
				s.raw(text)
			}
			s.rest()
		}).sharingBucket(Options{})
		first, err := b.Watch(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		wantEvents(t, first, "a@4", "synced", "a@6", "a@7", "a@8")
		second, err := b.Watch(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		wantEvents(t, second, "a@9", "synced")
		synctest.Wait() // it has moved
		more <- put("a", 9) + of(2, put("a", 10)) + put("a", 10) + goneEnd + of(2, put("a", 11), goneEnd)
		close(more)
		wantEvents(t, first, "a@9", "a@10", "the end")
		wantEvents(t, second, "a@10", "a@11", "the end")
		for _, w := range []kv.Watcher{first, second} {
			if err := w.Err(); !errors.Is(err, kv.ErrBucketNotFound) {
				t.Errorf("it ended with %v", err)
			}
		}
	})
}

// TestWatchStaysAlone has servers that do not let a watch share a connection. The events
// come from its own, and the watch asks again after more of them.
func TestWatchStaysAlone(t *testing.T) {
	for name, refuses := range map[string]func(*session){
		"no connection": func(*session) {},
		"compacted": func(s *session) {
			s.hello()
			s.shared(1, 6, "from=6")
			s.raw("END 1 COMPACTED first=90 : revisions below 90 are gone\r\n")
		},
		"compacted at once": func(s *session) {
			s.hello()
			s.want("INFO b id=7")
			s.raw("+INFO b id=7 revision=6\r\n")
			s.want("WATCH 1 b > from=6 id=7")
			s.raw("-ERR COMPACTED first=90 : revisions below 90 are gone\r\n")
		},
		"too many watches": func(s *session) {
			s.hello()
			s.want("INFO b id=7")
			s.raw("-ERR TOO_MANY : watches\r\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				told := 0
				refused, again := make(chan struct{}), make(chan struct{})
				b := play(t, idle, watching(5, "", func(s *session) {
					s.raw(synced)
					<-refused
					s.raw(put("a", 6))
					<-again
					s.raw(put("a", 7))
					s.want("UNWATCH 1")
					s.raw("+OK\r\n")
				}), func(s *session) {
					defer close(refused)
					refuses(s)
				}, func(s *session) {
					s.hello()
					s.shared(1, 7, "from=8")
					s.raw(synced + put("a", 8))
					s.rest()
				}).sharingBucket(Options{WatchInterrupted: func(error) { told++ }})
				w, err := b.Watch(t.Context(), nil)
				if err != nil {
					t.Fatal(err)
				}
				wantEvents(t, w, "synced", "a@6")
				synctest.Wait() // the client has noticed which connections ended
				close(again)
				wantEvents(t, w, "a@7", "a@8")
				if told != 0 {
					t.Errorf("the caller was told %d times of an interruption", told)
				}
			})
		})
	}
}

// TestSharedConnectionBreaks checks that every watch of the connection goes on after its own
// last event on the next connection.
func TestSharedConnectionBreaks(t *testing.T) {
	for name, last := range map[string]string{
		"without a word":   "",
		"with a shutdown":  of(1, fmt.Sprintf(movedEnd, 20)) + of(2, fmt.Sprintf(movedEnd, 20)) + "-ERR SHUTDOWN : the server is shutting down\r\n",
		"with nonsense":    "what\r\n",
		"with a stranger":  of(3, put("a", 30)),
		"with a reply":     "+OK\r\n",
		"with a bad event": "EVENT 2 a b c\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				told := make(chan error, 9)
				resumes := func(s *session) {
					s.hello()
					var begun []string
					for n := range 2 {
						s.want("INFO b id=7")
						s.raw("+INFO b id=7 revision=30\r\n")
						line, _ := s.line()
						begun = append(begun, strings.TrimPrefix(line, fmt.Sprintf("WATCH %d b > ", n+1)))
						var from int
						_, _ = fmt.Sscanf(begun[n], "from=%d", &from)
						s.raw("+OK\r\n" + of(n+1, put("b", max(from, 20)), synced))
					}
					slices.Sort(begun)
					want := []string{"from=7 id=7", "from=9 id=7"}
					if strings.Contains(last, "SHUTDOWN") {
						want = []string{"from=20 id=7", "from=20 id=7"}
					}
					if !slices.Equal(begun, want) {
						t.Errorf("the watches begin at %q, want %q", begun, want)
					}
					s.rest()
				}
				b := play(t, idle, func(s *session) {
					s.hello()
					s.shared(1, 5, "mode=updates")
					s.shared(2, 5, "mode=updates")
					s.raw(put("a", 6) + of(2, put("a", 6), put("a", 8)) + last)
				}, resumes).sharingBucket(Options{WatchInterrupted: func(err error) { told <- err }})
				var watches []kv.Watcher
				for range 2 {
					w, err := b.Watch(t.Context(), nil, kv.UpdatesOnly())
					if err != nil {
						t.Fatal(err)
					}
					watches = append(watches, w)
				}
				wantEvents(t, watches[0], "a@6", "b@20")
				wantEvents(t, watches[1], "a@6", "a@8", "b@20")
				synctest.Wait()
				lost, found := 0, 0
				for range len(told) {
					if <-told != nil {
						lost++
					} else {
						found++
					}
				}
				if lost != 2 || found != 2 {
					t.Errorf("the caller was told of %d losses and %d continuations, want 2 of each", lost, found)
				}
			})
		})
	}
}

// TestUndrainedWatchLeavesTheSharedConnection does not receive from one of two watches. The
// other gets its events, and the first gets all once somebody receives.
func TestUndrainedWatchLeavesTheSharedConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const all = waitingMax/waitingOverhead + 3*updatesKept
		drained := make(chan struct{})
		b := play(t, answering(func(string) string { return "+OK 5\r\n" }), func(s *session) {
			s.hello()
			s.shared(1, 5, "mode=updates")
			s.shared(2, 5, "mode=updates")
			unwatched := make(chan struct{})
			go func() { // to read while the events are written
				defer close(unwatched)
				s.want("UNWATCH 1")
				s.raw("+OK\r\n")
			}()
			for i := range all {
				s.raw(put("k", 6+i))
			}
			<-unwatched
			s.raw(put("k", 6+all) + of(2, put("k", 6)))
			s.shared(3, 6+all, fmt.Sprintf("from=%d", 6+all))
			s.raw(of(3, synced, put("k", 6+all), put("k", 7+all)))
			s.rest()
		}, func(s *session) {
			s.hello()
			s.want("INFO b id=7")
			line, _ := s.line()
			var from int
			if n, err := fmt.Sscanf(line, "WATCH 1 b > from=%d id=7", &from); n != 1 {
				t.Errorf("%q: %v", line, err)
			}
			s.raw("+INFO b id=7 revision=500\r\n+OK\r\n")
			for i := from; i < 6+all; i++ {
				s.raw(put("k", i))
			}
			<-drained
			s.raw(synced)
			s.want("UNWATCH 1")
			s.raw("+OK\r\n")
			s.rest()
		}).sharingBucket(Options{WatchInterrupted: func(err error) { t.Errorf("the caller was told %v", err) }})
		var watches []kv.Watcher
		for range 2 {
			w, err := b.Watch(t.Context(), nil, kv.UpdatesOnly())
			if err != nil {
				t.Fatal(err)
			}
			watches = append(watches, w)
		}
		wantEvents(t, watches[1], "k@6")
		if rev, err := b.Touch(t.Context(), "k"); rev != 5 || err != nil {
			t.Errorf("beside the watch: revision %d, %v", rev, err)
		}
		synctest.Wait() // the first watch is blocked
		for i := range all {
			wantEvents(t, watches[0], fmt.Sprintf("k@%d", 6+i))
		}
		close(drained)
		wantEvents(t, watches[0], fmt.Sprintf("k@%d", 6+all))
		wantEvents(t, watches[0], fmt.Sprintf("k@%d", 7+all))
	})
}

// TestWatchesEndOnASharedConnection ends one of two watches. The connection and the other
// watch stay.
func TestWatchesEndOnASharedConnection(t *testing.T) {
	for name, end := range map[string]func(kv.Watcher, context.CancelFunc){
		"by Stop":          func(w kv.Watcher, _ context.CancelFunc) { _ = w.Stop() },
		"with its context": func(_ kv.Watcher, cancel context.CancelFunc) { cancel() },
	} {
		for state, events := range map[string]string{"idle": "", "undrained": manyPuts(updatesKept + 9)} {
			t.Run(name+"/"+state, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := play(t, idle, func(s *session) {
						s.hello()
						s.shared(1, 5, "mode=updates")
						s.shared(2, 5, "mode=updates")
						s.raw(events)
						s.want("UNWATCH 1")
						s.raw("+OK\r\n" + put("k", 900) + of(2, put("k", 901)))
						s.shared(3, 5, "mode=updates")
						s.raw(of(3, put("k", 902)))
						s.rest()
					})
					b := s.sharingBucket(Options{})
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					first, err := b.Watch(ctx, nil, kv.UpdatesOnly())
					if err != nil {
						t.Fatal(err)
					}
					second, err := b.Watch(t.Context(), nil, kv.UpdatesOnly())
					if err != nil {
						t.Fatal(err)
					}
					synctest.Wait()
					end(first, cancel)
					wantEvents(t, second, "k@901")
					third, err := b.Watch(t.Context(), nil, kv.UpdatesOnly())
					if err != nil {
						t.Fatal(err)
					}
					wantEvents(t, third, "k@902")
					for range first.Updates() { // to its end
					}
					if n := s.connections(); n != 2 {
						t.Errorf("%d connections, want 2", n)
					}
				})
			})
		}
	}
}

// manyPuts is events of revisions from 7 on.
func manyPuts(n int) string {
	var all strings.Builder
	for i := range n {
		all.WriteString(put("k", 7+i))
	}
	return all.String()
}

// TestWatchThatIsGivenUpIsUnwatched ends the context while the server has not answered.
func TestWatchThatIsGivenUpIsUnwatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		b := play(t, idle, func(s *session) {
			s.hello()
			s.want("INFO b id=7")
			s.raw("+INFO b id=7 revision=5\r\n")
			s.want("WATCH 1 b > mode=updates id=7")
			cancel()
			s.want("UNWATCH 1")
			s.raw("+OK\r\n" + put("k", 6) + "+OK\r\n")
			s.shared(2, 6, "mode=updates")
			s.raw(of(2, put("k", 7)))
			s.rest()
		}).sharingBucket(Options{})
		if _, err := b.Watch(ctx, nil, kv.UpdatesOnly()); !errors.Is(err, context.Canceled) {
			t.Errorf("error is %v", err)
		}
		w, err := b.Watch(t.Context(), nil, kv.UpdatesOnly())
		if err != nil {
			t.Fatal(err)
		}
		wantEvents(t, w, "k@7")
	})
}

// TestNoSeatOnAConnectionThatIsNotServed closes the client while a shared connection is made. A
// watch that had a seat on it would wait for an answer for ever, and Close for the watch.
func TestNoSeatOnAConnectionThatIsNotServed(t *testing.T) {
	c := play(t, idle, func(s *session) {
		s.hello()
		s.rest()
	}).sharingBucket(Options{}).client
	cs := &c.watches
	c.link.mu.Lock()
	dialed := make(chan error)
	go func() {
		_, err := cs.dial(t.Context())
		dialed <- err
	}()
	for cs.mu.TryLock() { // until dial waits for the link
		seats := len(cs.mu.conns)
		cs.mu.Unlock()
		if seats > 0 {
			t.Error("watches can take seats before the connection is served")
			break
		}
		runtime.Gosched()
	}
	c.link.mu.closed = true
	c.link.mu.Unlock()
	if err := <-dialed; !errors.Is(err, kv.ErrClosed) {
		t.Errorf("dial: %v", err)
	}
	if cs.take(cs.usual) != nil {
		t.Error("the connection stays")
	}
}
