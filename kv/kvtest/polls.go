package kvtest

import (
	"context"
	"fmt"
	"time"

	"kvd/kv"
)

// polling is a watch of a logged bucket that is polled.
type polling struct {
	kv.Poller
	t        *trial
	log      *logged
	notified chan struct{}
	more     bool // there was no poll yet, or the last poll reported that there may be more
}

// poll begins a watch for polling. It is stopped when the test ends.
func (l *logged) poll(patterns []string, opts ...kv.WatchOption) *polling {
	l.t.Helper()
	return l.pollIn(l.t.ctx, patterns, opts...)
}

func (l *logged) pollIn(ctx context.Context, patterns []string, opts ...kv.WatchOption) *polling {
	l.t.Helper()
	p := &polling{t: l.t, log: l, more: true, notified: make(chan struct{}, 1)}
	notify := kv.Notify(func() {
		select {
		case p.notified <- struct{}{}:
		default:
			p.t.Error("notified again before another Poll")
		}
	})
	w, err := l.Watch(ctx, patterns, append(opts, notify)...)
	l.t.ok(err)
	l.t.Cleanup(func() { _ = w.Stop() })
	p.Poller, _ = kv.As[kv.Poller](w)
	return p
}

// wait waits until there may be events to poll.
func (p *polling) wait() {
	p.t.Helper()
	if p.more {
		return
	}
	select {
	case <-p.notified:
	case <-time.After(patience):
		p.t.Fatalf("nobody was notified within %v", patience)
	}
}

// takes polls until it has n events, at most atOnce events a poll.
func (p *polling) takes(n, atOnce int) (all []kv.Update) {
	p.t.Helper()
	for len(all) < n {
		p.wait()
		got := 0
		more, err := p.Poll(func(u kv.Update) bool {
			got++
			if got > atOnce || len(all) == n {
				p.t.Fatalf("Poll goes on after fn has returned false")
			}
			all = append(all, u)
			return got < atOnce && len(all) < n
		})
		p.t.ok(err)
		p.more = more
	}
	return all
}

// initial takes the initial entries and their end.
func (p *polling) initial(atOnce int, words ...string) {
	p.t.Helper()
	all := p.takes(len(words)+1, atOnce)
	p.are(all[:len(words)], len(words)-1, words...)
	if e := all[len(words)].Entry; e != nil {
		p.t.Fatalf("%s came where the end of the initial entries is due", word(e))
	}
}

// are ends the test unless the events are these records. Their deltas count down from the
// given one; for changes that is negative.
func (p *polling) are(all []kv.Update, delta int, words ...string) {
	p.t.Helper()
	for i, word := range words {
		if all[i].Entry == nil {
			p.t.Fatalf("the end of the initial entries came where %s is due", word)
		}
		want := p.log.entries[word]
		want.Delta = uint64(max(delta-i, 0))
		p.t.entry(*all[i].Entry, want)
	}
}

// ended polls until the watch has ended. It ends the test if there is an event or another
// reason.
func (p *polling) ended(want error) {
	p.t.Helper()
	for {
		p.wait()
		more, err := p.Poll(func(u kv.Update) bool {
			p.t.Fatalf("an event came where the end of the watch is due: %+v", u)
			return false
		})
		if err != nil {
			p.t.fails(err, want)
			return
		}
		p.more = more
	}
}

// pollFacts are about watches that are polled. They run for a store whose watches
// implement kv.Poller.
var pollFacts = []fact{
	{"Poll delivers what the channel would", func(t *trial) {
		for _, atOnce := range []int{1, 2, 100} {
			l := t.logged(5)
			l.write("a=1 b=1 a=2 -b c=1")
			p := l.poll(nil)
			p.initial(atOnce, "a=2", "-b", "c=1")
			l.write("a=3 -c d=1")
			p.are(p.takes(3, atOnce), -1, "a=3", "-c", "d=1")
		}
	}},
	{"the function of Notify is called again for every event that comes to one who waits", func(t *trial) {
		l := t.logged(1)
		p := l.poll([]string{"a"})
		p.initial(100)
		for _, word := range []string{"a=1", "a=2", "-a", "a=3"} {
			p.idle()
			l.write("b=" + word[1:])
			l.write(word)
			p.are(p.takes(1, 100), -1, word)
		}
	}},
	{"nobody is notified before the first Poll, and once after it", func(t *trial) {
		l := t.logged(5)
		l.write("a=1")
		p := l.poll(nil)
		l.write("b=1")
		equal(t, "notices", len(p.notified), 0)
		p.initial(100, "a=1")
		p.are(p.takes(1, 100), -1, "b=1")
		p.idle()
		l.write("a=2 a=3 a=4")
		p.are(p.takes(3, 100), -1, "a=2", "a=3", "a=4")
	}},
	{"Poll without an event calls nothing and has no error", func(t *trial) {
		l := t.logged(1)
		p := l.poll(nil, kv.UpdatesOnly())
		p.idle()
		p.idle()
		l.write("a=1")
		p.are(p.takes(1, 1), -1, "a=1")
	}},
	{"Pending says how many initial entries are due", func(t *trial) {
		l := t.logged(1)
		l.write("a=1 b=1 c=1")
		p := l.poll(nil)
		equal(t, "pending", p.Pending(), 3)
		for i, word := range []string{"a=1", "b=1", "c=1"} {
			p.are(p.takes(1, 1), 2-i, word)
			equal(t, "pending", p.Pending(), uint64(2-i))
		}
		l.write("d=1")
		equal(t, "pending after a change", p.Pending(), 0)
		equal(t, "pending of updates only", l.poll(nil, kv.UpdatesOnly()).Pending(), 0)
	}},
	{"after Stop it says so", func(t *trial) {
		l := t.logged(1)
		l.write("a=1")
		p := l.poll(nil)
		t.ok(p.Stop())
		_, err := p.Poll(func(kv.Update) bool { return true })
		t.fails(err, kv.ErrWatchStopped)
		equal(t, "error", p.Err(), nil)
	}},
	{"the end of the context is an end that is notified", func(t *trial) {
		l := t.logged(1)
		ctx, cancel := context.WithCancel(t.ctx)
		defer cancel()
		p := l.pollIn(ctx, nil)
		p.initial(100)
		p.idle()
		cancel()
		p.ended(context.Canceled)
		t.fails(p.Err(), context.Canceled)
	}},
	{"the end of the bucket is an end that is notified", func(t *trial) {
		l := t.logged(1)
		p := l.poll(nil)
		p.initial(100)
		p.idle()
		t.ok(t.Store.DeleteBucket(t.ctx, l.Name()))
		p.ended(kv.ErrBucketNotFound)
		t.fails(p.Err(), kv.ErrBucketNotFound)
	}},
	{"a backlog of any size is polled in pieces", func(t *trial) {
		l := t.logged(64)
		p := l.poll(nil, kv.UpdatesOnly())
		var revs []kv.Revision
		for n := range 1000 {
			revs = append(revs, t.put(l, fmt.Sprint("k", n%60), "v"))
		}
		for i, u := range p.takes(len(revs), 7) {
			equal(t, "revision", u.Entry.Revision, revs[i])
		}
	}},
}

// idle polls until there is nothing more. It ends the test if there is an event.
func (p *polling) idle() {
	p.t.Helper()
	for more := true; more; {
		var err error
		more, err = p.Poll(func(u kv.Update) bool {
			p.t.Fatalf("an event came that is not due: %+v", u)
			return false
		})
		p.t.ok(err)
	}
	p.more = false
}
