package kvtest

import (
	"errors"

	"kvd/kv"
)

// resumeFacts are about watches that begin with a revision.
var resumeFacts = []fact{
	{"everything kept from the revision on comes, that one included, and then the end", func(t *trial) {
		l := t.logged(5)
		l.write("a=1 b=1 a=2 -b c=1 a=3")
		for from, want := range map[string]string{
			"a=1": "a=1 b=1 a=2 -b c=1 a=3",
			"a=2": "a=2 -b c=1 a=3",
			"-b":  "-b c=1 a=3",
			"a=3": "a=3",
		} {
			l.watch("", kv.ResumeFromRevision(l.revision(from))).initial(want)
		}
	}},
	{"from the revision after the newest nothing comes but the end", func(t *trial) {
		l := t.logged(5)
		last := l.write("a=1 b=1")
		w := l.watch("", kv.ResumeFromRevision(last+1))
		w.initial("")
		w.sees("a=2 -b")
	}},
	{"from a revision above that it fails, and names the newest", func(t *trial) {
		l := t.logged(5)
		if t.differs(FutureResumes) {
			w := l.watch("", kv.ResumeFromRevision(l.write("a=1")+2))
			w.initial("")
			l.write("a=2")
			w.sees("b=1") // a=2 is below
			return
		}
		for _, words := range []string{"", "a=1 b=1"} {
			newest := l.write(words)
			for _, from := range []kv.Revision{newest + 2, newest + 900, 1<<64 - 1} {
				_, err := l.Watch(t.ctx, nil, kv.ResumeFromRevision(from))
				t.fails(err, kv.ErrFutureRevision)
				var future *kv.FutureRevisionError
				if !errors.As(err, &future) {
					t.Fatalf("error is %v, want a FutureRevisionError", err)
				}
				equal(t, "error", *future, kv.FutureRevisionError{Bucket: l.Name(), Wanted: from, Newest: newest})
			}
		}
	}},
	{"only what the patterns select comes", func(t *trial) {
		l := t.logged(5)
		from := l.write("b.x=0 a=1")
		l.write("b.x=1 c=1 b.y=1 a=2 b.x=2")
		w := l.watch("b.* a", kv.ResumeFromRevision(from))
		w.initial("a=1 b.x=1 b.y=1 a=2 b.x=2")
		l.write("c=2")
		w.sees("b.z=1")
	}},
	{"of trimmed records their successors come", func(t *trial) {
		l := t.logged(1)
		from := l.write("a=1")
		l.write("b=1 a=2 b=2 p=1 --p a=3")
		l.watch("", kv.ResumeFromRevision(from)).initial("b=2 --p a=3")
	}},
	{"with IgnoreDeletes no markers come", func(t *trial) {
		l := t.logged(5)
		from := l.write("a=1")
		l.write("-a b=1 --b c=1")
		w := l.watch("", kv.ResumeFromRevision(from), kv.IgnoreDeletes())
		w.initial("a=1 c=1")
		l.write("-c")
		w.sees("a=2")
	}},
	{"with UpdatesOnly everything from it on comes, without an end", func(t *trial) {
		l := t.logged(5)
		l.write("a=1")
		from := l.write("b=1")
		l.write("a=2 -b")
		w := l.watch("", kv.UpdatesOnly(), kv.ResumeFromRevision(from))
		for _, word := range []string{"b=1", "a=2", "-b"} {
			w.entry(word)
		}
		w.sees("a=3")
	}},
	{"with IncludeHistory the history before it does not come", func(t *trial) {
		l := t.logged(5)
		l.write("a=1 b=1")
		from := l.write("a=2")
		l.write("b=2")
		l.watch("", kv.IncludeHistory(), kv.ResumeFromRevision(from)).initial("a=2 b=2")
	}},
	{"with the bucket's id it goes on", func(t *trial) {
		l := t.logged(5)
		l.write("a=1")
		from := l.write("a=2")
		w := l.watch("", kv.ResumeFromRevision(from), kv.ResumeBucketID(t.status(l).ID))
		w.initial("a=2")
		w.sees("a=3")
	}},
	{"with another bucket's id it is refused", func(t *trial) {
		cfg := kv.Config{Bucket: t.freshName()}
		before := t.status(t.makeBucket(cfg)).ID
		t.ok(t.Store.DeleteBucket(t.ctx, cfg.Bucket))
		b := t.makeBucket(cfg)
		for _, opts := range [][]kv.WatchOption{
			{kv.ResumeBucketID(before)},
			{kv.ResumeBucketID(before), kv.ResumeFromRevision(1)},
			{kv.UpdatesOnly(), kv.ResumeBucketID(t.status(b).ID + 1)},
		} {
			_, err := b.Watch(t.ctx, nil, opts...)
			t.fails(err, kv.ErrBucketNotFound)
		}
	}},
	{"one watch after the other delivers everything once", func(t *trial) {
		l := t.logged(64)
		var next kv.Revision
		for _, words := range []string{"a=1 b=1 a=2", "a=3", "-a b=2 c=1", "--b"} {
			w := l.watch("", kv.ResumeFromRevision(next+1))
			w.initial("")
			w.sees(words)
			t.ok(w.Stop())
			next = t.status(l).Revision
		}
		l.watch("", kv.ResumeFromRevision(1)).initial("a=1 a=2 a=3 -a c=1 --b")
	}},
	{"before a forgotten end of a key it fails, and names the revision from which on nothing is missing", func(t *trial) {
		l := t.logged(5)
		from := l.write("a=1")
		l.write("k=1 -k z=1")
		t.ok(l.PurgeDeletes(t.ctx, -1))
		if t.differs(EndsForgotten) {
			l.watch("", kv.ResumeFromRevision(from)).initial("a=1 z=1")
			return
		}
		for _, rev := range []kv.Revision{from, from + 1, l.revision("-k")} {
			gone := t.compacted(l, rev)
			equal(t, "bucket of the error", gone.Bucket, l.Name())
			if gone.First <= l.revision("-k") || gone.First > l.revision("z=1")+1 {
				t.Fatalf("resume from %d: the first revision is said to be %d, and the key ended at %d", rev, gone.First, l.revision("-k"))
			}
			w := l.watch("", kv.ResumeFromRevision(gone.First))
			if gone.First <= l.revision("z=1") {
				w.initial("z=1")
			} else {
				w.initial("")
			}
		}
		l.watch("").initial("a=1 z=1")
	}},
	{"where a marker is only behind newer records it does not fail", func(t *trial) {
		l := t.logged(2)
		from := l.write("k=1")
		l.write("-k k=2 k=3 a=1")
		t.ok(l.PurgeDeletes(t.ctx, -1))
		l.watch("", kv.ResumeFromRevision(from)).initial("k=2 k=3 a=1")
	}},
}

// compacted watches from a revision from which a watcher would miss the end of a key. It
// returns the error of Watch, or the error that ends the watch before its initial entries
// are complete.
func (t *trial) compacted(l *logged, from kv.Revision) *kv.CompactedError {
	t.Helper()
	w, err := l.Watch(t.ctx, nil, kv.ResumeFromRevision(from))
	if err == nil {
		defer w.Stop()
		in := &watching{Watcher: w, t: t, log: l}
		for u, open := in.receive(); open; u, open = in.receive() {
			if u.Entry == nil {
				t.Fatalf("resume from %d: the initial entries are said to be complete, and the end of a key is missing", from)
			}
		}
		err = w.Err()
	}
	t.fails(err, kv.ErrCompacted)
	var gone *kv.CompactedError
	if !errors.As(err, &gone) {
		t.Fatalf("error is %v, want a CompactedError", err)
	}
	return gone
}
