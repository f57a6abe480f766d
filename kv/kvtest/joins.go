package kvtest

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"sync"
	"sync/atomic"

	"kvd/kv"
)

// joinFacts are about watches beside writers.
var joinFacts = []fact{
	{"of the newest records joins the changes without gap or overlap", func(t *trial) {
		t.joins(1, func(kv.Revision) []kv.WatchOption { return nil })
	}},
	{"of the newest records of a long history joins the changes without gap or overlap", func(t *trial) {
		t.joins(64, func(kv.Revision) []kv.WatchOption { return nil })
	}},
	{"of all records joins the changes without gap or overlap", func(t *trial) {
		t.joins(64, func(kv.Revision) []kv.WatchOption { return []kv.WatchOption{kv.IncludeHistory()} })
	}},
	{"of updates only has no gap", func(t *trial) {
		t.joins(64, func(kv.Revision) []kv.WatchOption { return []kv.WatchOption{kv.UpdatesOnly()} })
	}},
	{"that is resumed joins the changes without gap or overlap", func(t *trial) {
		t.joins(64, func(last kv.Revision) []kv.WatchOption {
			return []kv.WatchOption{kv.ResumeFromRevision(max(last/2, 1))}
		})
	}},
	{"that nobody reads does not hold up writers, and gets everything that is kept", func(t *trial) {
		b := t.bucket(64)
		w, err := b.Watch(t.ctx, nil)
		t.ok(err)
		defer w.Stop()
		var revs []kv.Revision
		for n := range 1000 {
			revs = append(revs, t.put(b, fmt.Sprint("k", n%50), fmt.Sprint(n)))
		}
		in := &watching{Watcher: w, t: t}
		in.end()
		for n, rev := range revs {
			e := in.next().Entry
			if e == nil || e.Revision != rev || string(e.Value) != fmt.Sprint(n) {
				t.Fatalf("event %d is %+v, want revision %d", n, e, rev)
			}
		}
	}},
	{"that nobody reads gets at least the successors of what is trimmed", func(t *trial) {
		b := t.bucket(1)
		w, err := b.Watch(t.ctx, nil, kv.UpdatesOnly())
		t.ok(err)
		defer w.Stop()
		newest := map[string]kv.Revision{}
		for n := range 1000 {
			key := fmt.Sprint("k", n%7)
			newest[key] = t.put(b, key, "v")
		}
		last := t.put(b, "last", "v")
		in := &watching{Watcher: w, t: t}
		got := map[string]kv.Revision{}
		for rev := kv.Revision(0); rev < last; {
			e := in.next().Entry
			if e.Revision <= rev {
				t.Fatalf("revision %d came after %d", e.Revision, rev)
			}
			rev = e.Revision
			got[e.Key] = rev
		}
		for key, rev := range newest {
			equal(t, "newest revision of "+key, got[key], rev)
		}
	}},
}

// joins begins watches one after the other beside writers, and checks the events of each
// up to a last record. The options may name a revision; last is a revision that was
// written a moment ago.
func (t *trial) joins(history int, options func(last kv.Revision) []kv.WatchOption) {
	t.Helper()
	const watches, writers, between = 12, 3, 30
	b := t.bucket(history)
	var enough atomic.Bool
	acked := make(chan kv.Revision, 256) // the writers may be that far ahead
	var wrote [writers]map[kv.Revision]string
	var errs [writers]error
	var writing sync.WaitGroup
	for i := range writers {
		writing.Go(func() { wrote[i], errs[i] = busily(t, b, i, history, acked, &enough) })
	}
	go func() { writing.Wait(); close(acked) }()

	var all []*joined
	var err error
	for n := 0; n < watches && err == nil; n++ {
		var last kv.Revision
		for range between {
			last = max(last, <-acked)
		}
		var j *joined
		if j, err = t.join(b, last, options(last)); err == nil {
			defer j.Stop()
			all = append(all, j)
		}
	}
	enough.Store(true)
	for range acked { // until the writers have ended
	}
	t.ok(errors.Join(append(errs[:], err)...))

	last := t.put(b, "last", "last")
	keys := map[kv.Revision]string{last: "last"}
	for _, some := range wrote {
		maps.Copy(keys, some)
	}
	for _, j := range all {
		j.receive(t, last)
		j.check(t, history, keys)
	}
}

// busily writes keys of its own until it is told to end: puts, and occasional deletes. If
// the history is longer than 1, no key gets more records than the history keeps. It
// returns the key of each revision.
func busily(t *trial, b kv.Bucket, writer, history int, acked chan<- kv.Revision, enough *atomic.Bool) (map[kv.Revision]string, error) {
	keys := map[kv.Revision]string{}
	for n := 0; !enough.Load(); n++ {
		key := fmt.Sprintf("w%d.%d", writer, n%5)
		if history > 1 {
			key = fmt.Sprintf("w%d.%d", writer, n/history)
		}
		write := func() (kv.Revision, error) { return b.Put(t.ctx, key, []byte(key)) }
		if n%7 == 3 {
			write = func() (kv.Revision, error) { return b.Delete(t.ctx, key) }
		}
		rev, err := write()
		if acked <- rev; err != nil {
			return nil, err
		}
		keys[rev] = key
	}
	return keys, nil
}

// joined is a watch that began beside writers.
type joined struct {
	kv.Watcher
	options       kv.WatchOptions
	before, after kv.Revision // the newest revision when it began is between them, both included
	came          []kv.Entry
	changes       int // number of those after the end of the initial entries
}

func (t *trial) join(b kv.Bucket, before kv.Revision, opts []kv.WatchOption) (*joined, error) {
	j := &joined{before: before}
	for _, opt := range opts {
		opt(&j.options)
	}
	w, err := b.Watch(t.ctx, nil, opts...)
	if err != nil {
		return nil, err
	}
	j.Watcher = w
	st, err := b.Status(t.ctx)
	j.after = st.Revision
	return j, err
}

// receive takes the events up to a revision.
func (j *joined) receive(t *trial, last kv.Revision) {
	t.Helper()
	in := &watching{Watcher: j.Watcher, t: t}
	ended := j.options.UpdatesOnly
	for rev := kv.Revision(0); rev < last || !ended; {
		u := in.next()
		switch {
		case u.Entry == nil && ended:
			t.Fatalf("an end of the initial entries that is not due, after revision %d", rev)
		case u.Entry == nil:
			ended = true
			continue
		case u.Entry.Revision <= rev:
			t.Fatalf("revision %d came after %d", u.Entry.Revision, rev)
		}
		rev = u.Entry.Revision
		j.came = append(j.came, *u.Entry)
		if ended {
			j.changes++
		}
	}
}

// check compares the events with the writes, by the key of each revision.
func (j *joined) check(t *trial, history int, keys map[kv.Revision]string) {
	t.Helper()
	came := map[kv.Revision]bool{}
	for _, e := range j.came {
		if keys[e.Revision] != e.Key || e.Operation == kv.Put && string(e.Value) != e.Key {
			t.Fatalf("%s came, but the record of that revision is of %q", word(&e), keys[e.Revision])
		}
		if j.options.UpdatesOnly && e.Revision <= j.before || e.Revision < j.options.ResumeFrom {
			t.Fatalf("%s came, which was there before", word(&e))
		}
		came[e.Revision] = true
	}
	due := j.due(history, keys)
	for rev, key := range keys {
		if due(rev) && !came[rev] {
			t.Fatalf("the record of %q at revision %d did not come to a watch that began after %d", key, rev, j.before)
		}
	}
}

// due returns a function that reports whether a revision must be delivered. If no record
// is trimmed, the watch has a joining revision: the initial entries are the requested
// ones of the records before it, and the changes are all other records.
func (j *joined) due(history int, keys map[kv.Revision]string) func(kv.Revision) bool {
	if history == 1 {
		newest := newestOf(keys, math.MaxUint64)
		return func(rev kv.Revision) bool { return newest[keys[rev]] == rev }
	}
	join := kv.Revision(math.MaxUint64)
	if j.changes > 0 {
		join = j.came[len(j.came)-j.changes].Revision
	}
	newest := newestOf(keys, join)
	return func(rev kv.Revision) bool {
		switch {
		case rev >= join:
			return true
		case j.options.UpdatesOnly:
			return rev > j.after
		case j.options.ResumeFrom > 0:
			return rev >= j.options.ResumeFrom
		}
		return j.options.IncludeHistory || newest[keys[rev]] == rev
	}
}

// newestOf returns the newest revision of each key below a bound.
func newestOf(keys map[kv.Revision]string, below kv.Revision) map[string]kv.Revision {
	newest := map[string]kv.Revision{}
	for rev, key := range keys {
		if rev < below {
			newest[key] = max(newest[key], rev)
		}
	}
	return newest
}
