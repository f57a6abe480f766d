package line

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kvd/kv"
	"kvd/server"
)

// event is a put of the value v.
func event(key string, revision kv.Revision) kv.Update {
	return kv.Update{Entry: &kv.Entry{Key: key, Value: []byte("v"), Revision: revision, Created: instant, Operation: kv.Put}}
}

// watching returns a Watch function of a bucket that returns these watchers, one after
// the other.
func watching(ws ...*fakeWatcher) func(context.Context, []string, kv.WatchOptions) (kv.Watcher, error) {
	return func(context.Context, []string, kv.WatchOptions) (kv.Watcher, error) {
		if len(ws) == 0 {
			return nil, errors.New("no more watchers")
		}
		w := ws[0]
		ws = ws[1:]
		return w, nil
	}
}

const at = " PUT 2026-11-22T18:00:00.123456789Z "

func TestAWatch(t *testing.T) {
	s, w := newFakeStore(), newFakeWatcher(event("a", 1)) // due before the watch begins: it must not come before the +OK
	s.bucket.watch = watching(w)
	p := servePipes(t, s, server.Options{}).dial()
	p.send("PING\nPING\nWATCH 7 b >\nPING\n")
	p.expect("+OK", "+OK", "+OK", "+OK", "EVENT 7 a 1"+at+"0 1\nv")
	w.feed(kv.Update{})
	p.expect("SYNCED 7")
	p.ask("PUT b k 1\nx", "+OK 1")
	e := kv.Entry{Key: "a", Revision: 9, Created: instant, Operation: kv.Purge, Reason: kv.ReasonExpiry, Delta: 3, Deadline: instant.Add(time.Second)}
	w.feed(kv.Update{Entry: &e})
	p.expect("EVENT 7 a 9 EXPIRE 2026-11-22T18:00:00.123456789Z 3 deadline=2026-11-22T18:00:01.123456789Z 0\n")
	w.fail(fmt.Errorf("watch: %w", &kv.CompactedError{Bucket: "b", Wanted: 10, First: 90}))
	p.expect(`END 7 COMPACTED next=10 first=90 wanted=10 : watch: revisions are compacted: bucket "b" has everything from revision 90 on, not from 10`)
	p.ask("UNWATCH 7", "+OK")
}

func TestWatchOptions(t *testing.T) {
	s := newFakeStore()
	var patterns []string
	var got kv.WatchOptions
	s.bucket.watch = func(_ context.Context, p []string, o kv.WatchOptions) (kv.Watcher, error) {
		if o.Notify == nil {
			t.Error("a watch that cannot be polled")
		}
		o.Notify = nil // functions cannot be compared
		patterns, got = p, o
		return nil, kv.ErrInvalidPattern
	}
	p := servePipes(t, s, server.Options{}).dial()
	for command, want := range map[string]struct {
		patterns []string
		options  kv.WatchOptions
	}{
		"WATCH 1 b >":                        {nil, kv.WatchOptions{}},
		"WATCH 1 b a.*,b mode=history":       {[]string{"a.*", "b"}, kv.WatchOptions{IncludeHistory: true}},
		"WATCH 1 b > mode=updates meta=yes":  {nil, kv.WatchOptions{UpdatesOnly: true, MetaOnly: true}},
		"WATCH 1 b > from=7 id=9 deletes=no": {nil, kv.WatchOptions{IgnoreDeletes: true, ResumeFrom: 7, ResumeBucketID: 9}},
		"WATCH 1 b > mode=last deletes=yes":  {nil, kv.WatchOptions{}},
	} {
		p.ask(command, "-ERR INVALID_PATTERN : b")
		if !slices.Equal(patterns, want.patterns) || !reflect.DeepEqual(got, want.options) {
			t.Errorf("%s is\n%q %+v, want\n%q %+v", command, patterns, got, want.patterns, want.options)
		}
	}
	p.ask("WATCH 1 b > id=8", `-ERR BUCKET_NOT_FOUND : "b" with id 8; the one of that name has id 9`)
	p.ask("WATCH 1 c >", "-ERR BUCKET_NOT_FOUND : c")
}

// TestNoEventFollowsUnwatch stops watches while they deliver many events.
func TestNoEventFollowsUnwatch(t *testing.T) {
	s := newFakeStore()
	var w *fakeWatcher
	s.bucket.watch = func(context.Context, []string, kv.WatchOptions) (kv.Watcher, error) {
		w = newFakeWatcher()
		w.endless = true
		return w, nil
	}
	p := servePipes(t, s, server.Options{}).dial()
	for range 100 {
		p.send("WATCH 1 b >\n")
		p.expect("+OK")
		for rev := range 5 {
			p.expectPrefix(fmt.Sprintf("EVENT 1 k %d ", rev+1))
		}
		p.send("UNWATCH 1\nPING\n")
		for reply := p.next(); reply != "+OK\n"; reply = p.next() {
			if !strings.HasPrefix(reply, "EVENT 1 ") {
				t.Fatalf("%q", reply)
			}
		}
		p.expect("+OK")
		<-w.stopped
		p.ask("WATCH 2 b >\nUNWATCH 2\nPING", "+OK", "+OK", "+OK") // it does not begin
		<-w.stopped
	}
}

// TestUnwatchSendsWhatIsReady stops a watch with events that nobody has polled.
func TestUnwatchSendsWhatIsReady(t *testing.T) {
	s, w := newFakeStore(), newFakeWatcher(event("k", 1))
	s.bucket.watch = watching(w)
	p := servePipes(t, s, server.Options{}).dial()
	p.ask("WATCH 1 b >", "+OK")
	p.expect("EVENT 1 k 1" + at + "0 1\nv")
	w.mu.Lock()
	w.fed = append(w.fed, event("k", 2), event("k", 3)) // the server is not told
	w.mu.Unlock()
	p.ask("UNWATCH 1", "EVENT 1 k 2"+at+"0 1\nv", "EVENT 1 k 3"+at+"0 1\nv", "+OK")
	<-w.stopped
}

func TestWatchNumbers(t *testing.T) {
	s := newFakeStore()
	first, second := newFakeWatcher(), newFakeWatcher(event("k", 5))
	s.bucket.watch = watching(first, second)
	p := servePipes(t, s, server.Options{}).dial()
	p.ask("WATCH 1 b >", "+OK")
	p.ask("WATCH 1 b >", "-ERR INVALID_OPTION : watch 1 exists")
	first.fail(kv.ErrBucketNotFound)
	p.expect("END 1 BUCKET_NOT_FOUND : bucket not found")
	p.ask("WATCH 1 b >", "+OK")
	p.expect("EVENT 1 k 5" + at + "0 1\nv")
	p.ask("WATCH 2 b >", "-ERR INTERNAL : no more watchers")
	p.ask("UNWATCH 99", "+OK")
}

func TestTooManyWatches(t *testing.T) {
	s := newFakeStore()
	s.bucket.watch = func(context.Context, []string, kv.WatchOptions) (kv.Watcher, error) { return newFakeWatcher(), nil }
	p := servePipes(t, s, server.Options{}).dial()
	for i := range watchesMax {
		p.ask(fmt.Sprintf("WATCH %d b >", i), "+OK")
	}
	p.ask("WATCH 5000 b >", "-ERR TOO_MANY : 1024 watches on one connection")
	p.ask("UNWATCH 17", "+OK")
	p.ask("WATCH 5000 b >", "+OK")
}

// TestWatchesEndWithTheirConnection ends connections in every way.
func TestWatchesEndWithTheirConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, last := range []string{"", "QUIT\n", "NOSUCH\n", "WATCH"} {
			s, w := newFakeStore(), newFakeWatcher()
			s.bucket.watch = watching(w)
			p := servePipes(t, s, server.Options{}).dial()
			p.ask("WATCH 1 b >", "+OK")
			p.send(last)
			if last == "" || last == "WATCH" {
				p.conn.Close()
			} else {
				_, _ = io.ReadAll(p.r)
			}
			<-w.stopped
		}
	})
}

// TestAWatchThatIsNotReadIsKept has a client that does not read while many events are
// due. The watch then takes only the memory of its position: the server polls no further
// events, and sends them when the client reads again.
func TestAWatchThatIsNotReadIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := newFakeStore(), newFakeWatcher()
		w.endless = true
		s.bucket.watch = watching(w)
		r := servePipes(t, s, server.Options{})
		p, other := r.dial(), r.dial()
		p.ask("WATCH 1 b >", "+OK")
		pass(time.Hour)
		other.ask("PING", "+OK")
		taken := w.delivered()
		if size := taken * len("EVENT 1 k 1"+at+"0 1\r\nv\r\n"); size > 2*flushSize {
			t.Errorf("%d events were taken for a client that does not read", taken)
		}
		for rev := range 2 * taken {
			p.expectPrefix(fmt.Sprintf("EVENT 1 k %d ", rev+1))
		}
	})
}

// TestRepliesAreReadOrTheConnectionEnds sends commands, and reads neither the replies nor
// the events before them.
func TestRepliesAreReadOrTheConnectionEnds(t *testing.T) {
	for _, command := range []string{"PING\n", "UNWATCH 1\n"} {
		synctest.Test(t, func(t *testing.T) {
			s, w := newFakeStore(), newFakeWatcher()
			w.endless = true
			s.bucket.watch = watching(w)
			p := servePipes(t, s, server.Options{}).dial()
			p.ask("WATCH 1 b >", "+OK")
			pass(time.Hour)
			p.send(command)
			start := time.Now()
			<-w.stopped
			synctest.Wait()
			pass(writeTime)
			if _, err := p.conn.Write([]byte("PING\r\n")); err == nil {
				t.Errorf("%q: the connection is still there after %v", command, time.Since(start))
			}
		})
	}
}

// TestEventsAreNotBoundByAReplysTime has a client that reads a reply at once, and the
// event that was written after it much later.
func TestEventsAreNotBoundByAReplysTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := newFakeStore(), newFakeWatcher()
		s.bucket.watch = watching(w)
		p := servePipes(t, s, server.Options{}).dial()
		p.ask("WATCH 1 b >", "+OK")
		for rev := kv.Revision(1); rev < 5; rev++ {
			p.ask("PING", "+OK")
			w.feed(event("k", rev))
			pass(10 * writeTime)
			p.expectPrefix(fmt.Sprintf("EVENT 1 k %d ", rev))
		}
	})
}

// TestWatchesTakeTurns has a watch with endless events on a connection with other
// watches.
func TestWatchesTakeTurns(t *testing.T) {
	s, busy, quiet := newFakeStore(), newFakeWatcher(), newFakeWatcher()
	busy.endless = true
	s.bucket.watch = watching(busy, quiet)
	p := servePipes(t, s, server.Options{}).dial()
	p.ask("WATCH 1 b >", "+OK")
	p.send("WATCH 2 b >\n")
	between := 0 // events of the endless watch
	for rev := kv.Revision(1); rev < 20; rev++ {
		quiet.feed(event("q", rev))
		for between = 0; ; between++ {
			reply := p.next()
			if strings.HasPrefix(reply, fmt.Sprintf("EVENT 2 q %d ", rev)) {
				break
			}
			if between > 4*flushSize/40 {
				t.Fatalf("%d events of one watch, and none of the other", between)
			}
		}
	}
}

// TestAStoreThatCannotBePolled has watchers that do not implement kv.Poller.
func TestAStoreThatCannotBePolled(t *testing.T) {
	s, w := newFakeStore(), newFakeWatcher()
	s.bucket.watch = func(context.Context, []string, kv.WatchOptions) (kv.Watcher, error) {
		return struct{ kv.Watcher }{w}, nil
	}
	p := servePipes(t, s, server.Options{}).dial()
	p.ask("WATCH 1 b >", "-ERR NOT_SUPPORTED : watches of a store without Poll")
	<-w.stopped
}

// TestAValueThatIsDamaged checks that the record is delivered without its value, and that
// the watch goes on.
func TestAValueThatIsDamaged(t *testing.T) {
	damaged := event("k", 3)
	damaged.Entry.Value, damaged.Err = nil, &kv.CorruptError{File: "f", Offset: 8, Detail: "value checksum"}
	s := newFakeStore()
	s.bucket.watch = watching(newFakeWatcher(damaged, event("k", 4)))
	p := servePipes(t, s, server.Options{}).dial()
	p.ask("WATCH 1 b >", "+OK",
		"LOST 1 k 3"+at+`0 CORRUPT file=f offset=8 detail="value checksum" : f at offset 8: value checksum`,
		"EVENT 1 k 4"+at+"0 1\nv")
}

func TestShutdownFinishesWhatWasRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w := newFakeStore(), newFakeWatcher()
		s.bucket.watch = watching(w)
		entered, leave := make(chan bool, 10), make(chan bool)
		r := servePipes(t, s, server.Options{})
		idle, watcher, busy := r.dial(), r.dial(), r.dial()
		idle.ask("PING", "+OK")
		watcher.ask("WATCH 3 b > from=5", "+OK")
		w.feed(event("k", 7))
		watcher.expect("EVENT 3 k 7" + at + "0 1\nv")
		s.bucket.onPut = func() { entered <- true; <-leave }
		busy.sendRaw("PUT b k 1\r\nx\r\nPING\r\nGET b k\r\nPUT b unfin")
		<-entered
		done := make(chan error)
		go func() { done <- r.server.Shutdown(context.Background()) }()
		const shutdown = "-ERR SHUTDOWN : the server is shutting down"
		idle.expect(shutdown)
		idle.expectClosed()
		watcher.expect("END 3 SHUTDOWN next=8 : the server is shutting down", shutdown)
		watcher.expectClosed()
		<-w.stopped
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("shutdown did not wait: %v", err)
		default:
		}
		leave <- true
		busy.expect("+OK 1", "+OK", "+ENTRY k 1"+at+"1\nx", shutdown)
		busy.expectClosed()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := r.dialer(); err == nil {
			t.Error("a connection was accepted after the shutdown")
		}
	})
}

func TestShutdownCutsOffWhatTakesTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		entered, leave := make(chan bool), make(chan bool)
		s.bucket.onPut = func() { entered <- true; <-leave }
		r := servePipes(t, s, server.Options{})
		p := r.dial()
		p.sendRaw("PUT b k 1\r\nx\r\n")
		<-entered
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("shutdown: %v", err)
		}
		p.expectClosed()
		leave <- true
	})
}

// TestResumeAfterShutdown checks the revision to resume from in each mode, whatever was
// delivered.
func TestResumeAfterShutdown(t *testing.T) {
	for _, tt := range []struct {
		options string
		updates []kv.Update
		want    string
	}{
		{"", nil, "END 1 SHUTDOWN : "},
		{"", []kv.Update{event("k", 2)}, "END 1 SHUTDOWN next=3 : "},
		{"", []kv.Update{event("k", 2), {}}, "END 1 SHUTDOWN next=4 : "},
		{"", []kv.Update{{}}, "END 1 SHUTDOWN next=4 : "},
		{" mode=updates", nil, "END 1 SHUTDOWN next=4 : "},
		{" mode=updates", []kv.Update{event("k", 9)}, "END 1 SHUTDOWN next=10 : "},
		{" from=2", nil, "END 1 SHUTDOWN next=2 : "},
	} {
		s, w := newFakeStore(), newFakeWatcher()
		s.bucket.revision = 3
		s.bucket.watch = watching(w)
		w.feed(tt.updates...)
		r := servePipes(t, s, server.Options{})
		p := r.dial()
		p.ask("WATCH 1 b >"+tt.options, "+OK")
		for range tt.updates {
			p.next()
		}
		go func() { _ = r.server.Shutdown(context.Background()) }()
		p.expectPrefix(tt.want)
	}
}
