package kvtest

import (
	"context"
	"io"

	"kvd/kv"
)

// endFacts are about the end of a watch.
var endFacts = []fact{
	{"Stop closes the channel and leaves no error", func(t *trial) {
		l := t.logged(1)
		l.write("a=1")
		w := l.watch("")
		w.initial("a=1")
		t.ok(w.Stop())
		w.ended(nil)
	}},
	{"Stop ends a watch that nobody reads", func(t *trial) {
		l := t.logged(1)
		w := l.watch("")
		for range 300 {
			t.put(l, "k", "v")
		}
		t.ok(w.Stop())
		w.ended(nil)
	}},
	{"Stop a second time does nothing", func(t *trial) {
		w := t.logged(1).watch("")
		t.ok(w.Stop())
		w.ended(nil)
		t.ok(w.Stop())
		equal(t, "error", w.Err(), nil)
	}},
	{"Stop of one leaves the others alone", func(t *trial) {
		l := t.logged(5)
		one, two, three := l.watch("a"), l.watch("a"), l.watch("")
		two.initial("")
		three.initial("")
		t.ok(one.Stop())
		l.write("a=1")
		two.changes("a=1")
		t.ok(two.Stop())
		l.write("a=2")
		three.changes("a=1 a=2")
	}},
	{"Err is nil while it goes on", func(t *trial) {
		l := t.logged(1)
		w := l.watch("")
		w.initial("")
		w.sees("a=1")
		equal(t, "error", w.Err(), nil)
	}},
	{"the end of its context ends it with that error", func(t *trial) {
		l := t.logged(1)
		ctx, cancel := context.WithCancel(t.ctx)
		defer cancel()
		w, err := l.Watch(ctx, nil)
		t.ok(err)
		in := &watching{Watcher: w, t: t, log: l}
		in.initial("")
		in.sees("a=1")
		cancel()
		in.ended(context.Canceled)
		t.ok(w.Stop())
		t.fails(w.Err(), context.Canceled)
	}},
	{"the end of its context ends one that nobody reads", func(t *trial) {
		l := t.logged(1)
		ctx, cancel := context.WithCancel(t.ctx)
		defer cancel()
		w, err := l.Watch(ctx, nil)
		t.ok(err)
		for range 300 {
			t.put(l, "k", "v")
		}
		cancel()
		(&watching{Watcher: w, t: t, log: l}).ended(context.Canceled)
	}},
	{"All ends without an error after Stop", func(t *trial) {
		l := t.logged(1)
		w := l.watch("")
		for u, err := range w.All() {
			t.ok(err)
			equal(t, "that the event is the end", u.Entry == nil, true)
			t.ok(w.Stop())
		}
	}},
	{"All ends with the error of the context", func(t *trial) {
		l := t.logged(1)
		ctx, cancel := context.WithCancel(t.ctx)
		defer cancel()
		w, err := l.Watch(ctx, nil)
		t.ok(err)
		var last error
		for _, err := range w.All() {
			equal(t, "error before the last", last, nil)
			last = err
			cancel()
		}
		t.fails(last, context.Canceled)
	}},
	{"a watch of a deleted bucket ends", func(t *trial) {
		l := t.logged(1)
		w, other := l.watch(""), t.logged(1)
		w.initial("")
		w.sees("a=1")
		beside := other.watch("")
		beside.initial("")
		t.ok(t.Store.DeleteBucket(t.ctx, l.Name()))
		if t.differs(WatchesOutliveBuckets) {
			t.ok(w.Stop())
			w.ended(nil)
		} else {
			w.ended(kv.ErrBucketNotFound)
			t.ok(w.Stop())
			t.fails(w.Err(), kv.ErrBucketNotFound)
		}
		beside.sees("a=1")
	}},
	{"a watch does not reach a bucket that is made again", func(t *trial) {
		l := t.logged(1)
		w := l.watch("")
		w.initial("")
		t.ok(t.Store.DeleteBucket(t.ctx, l.Name()))
		again := t.makeBucket(kv.Config{Bucket: l.Name()})
		t.put(again, "k", "of another life")
		if t.differs(WatchesOutliveBuckets) {
			return
		}
		for u, open := w.receive(); open; u, open = w.receive() {
			t.Fatalf("%s came from a bucket that was deleted", word(u.Entry))
		}
		t.fails(w.Err(), kv.ErrBucketNotFound)
	}},
}

// watchCloseFacts are about watches and the store's Close.
var watchCloseFacts = []fact{
	{"a watch of a closed store ends", func(t *trial) {
		s := t.harness.Open(t.T)
		b, err := s.CreateBucket(t.ctx, kv.Config{Bucket: "b"})
		t.ok(err)
		read, err := b.Watch(t.ctx, nil)
		t.ok(err)
		unread, err := b.Watch(t.ctx, nil)
		t.ok(err)
		in := &watching{Watcher: read, t: t}
		in.end()
		for range 300 {
			t.put(b, "k", "v")
		}
		t.ok(s.(io.Closer).Close())
		in.ended(kv.ErrClosed)
		(&watching{Watcher: unread, t: t}).ended(kv.ErrClosed)
	}},
}

// watchReopenFacts are about watches that are resumed after a restart.
var watchReopenFacts = []fact{
	{"a watch that is resumed after a restart misses nothing", func(t *trial) {
		s := t.harness.Open(t.T)
		b, err := s.CreateBucket(t.ctx, kv.Config{Bucket: "b", History: 5})
		t.ok(err)
		l := &logged{Bucket: b, t: t, entries: map[string]kv.Entry{}}
		l.write("a=1 b=1 -a")
		w := l.watch("", kv.IncludeHistory())
		w.initial("a=1 b=1 -a")
		w.sees("a=2")
		next, id := l.revision("a=2")+1, t.status(l).ID
		l.write("b=2 c=1 --b")
		for range 2 {
			s = t.harness.Reopen(t.T, s)
			l.Bucket, err = s.Bucket(t.ctx, "b")
			t.ok(err)
			w = l.watch("", kv.ResumeFromRevision(next), kv.ResumeBucketID(id))
			w.initial("c=1 --b")
		}
		w.sees("a=3 -c")
	}},
}
