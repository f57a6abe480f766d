package bucket

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"kvd/bucket/manifest"
	"kvd/index"
	"kvd/kv"
	"kvd/segment"
	"kvd/watch"
)

// drain returns the entries that a watch can send now.
func drain(t *testing.T, w kv.Watcher) (all []kv.Update) {
	t.Helper()
	for more := true; more; {
		var err error
		if more, err = w.(kv.Poller).Poll(func(u kv.Update) bool { all = append(all, u); return true }); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func mustWatch(t *testing.T, b kv.Bucket, patterns []string, opts ...kv.WatchOption) kv.Watcher {
	t.Helper()
	w, err := b.Watch(ctx, patterns, append(opts, kv.Notify(func() {}))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Stop() })
	return w
}

// A watch reads its selection to the end although the records were compacted, overwritten
// or purged meanwhile, whether they are next to each other or far apart.
func TestASnapshotOutlivesCompaction(t *testing.T) {
	const keys = 3 * skipMax
	name := func(i int) string {
		if i%(skipMax+100) == 0 {
			return fmt.Sprint("far.", i)
		}
		return fmt.Sprint("near.", i)
	}
	for _, pattern := range []string{">", "far.*", "near.*"} {
		h := newHarness(t)
		b := h.bucket("b")
		newest := map[string]kv.Revision{}
		put := func(i int) { newest[name(i)] = mustPut(t, b, name(i), fmt.Sprint(i)) }
		for range 2 { // half of it is dead
			for i := range keys {
				put(i)
			}
		}
		w := mustWatch(t, b, []string{pattern})
		var all []kv.Update
		if _, err := w.(kv.Poller).Poll(func(u kv.Update) bool { all = append(all, u); return false }); err != nil {
			t.Fatal(err)
		}
		for i := 100; i < keys; i += 7 {
			put(i)
		}
		for i := 101; i < keys; i += 7 {
			rev, err := b.Purge(ctx, name(i))
			if err != nil {
				t.Fatal(err)
			}
			newest[name(i)] = rev
		}
		if r, err := h.s.Reclaim(ctx, nil); err != nil || r.Freed == 0 {
			t.Fatalf("%+v, %v", r, err)
		}
		seen, last := map[string]kv.Revision{}, kv.Revision(0)
		for _, u := range append(all, drain(t, w)...) {
			switch e := u.Entry; {
			case e == nil:
			case u.Err != nil || e.Revision <= last:
				t.Fatalf("%s: %+v behind revision %d", pattern, u, last)
			case e.Operation == kv.Put && kv.Match("*."+string(e.Value), e.Key), e.Operation == kv.Purge:
				last, seen[e.Key] = e.Revision, e.Revision
			default:
				t.Fatalf("%s: %s has the value %q", pattern, e.Key, e.Value)
			}
		}
		for key, rev := range newest {
			if kv.Match(pattern, key) != (seen[key] == rev) {
				t.Errorf("%s: %s was seen at revision %d, its newest is %d", pattern, key, seen[key], rev)
			}
		}
	}
}

// A watch of a reopened store is slow: the records that it has to read fill several
// segments, with index blocks between them.
func TestALaggardReadsEverySegment(t *testing.T) {
	const seed = 1
	rng := rand.New(rand.NewPCG(seed, 0))
	h := newHarness(t)
	b := h.bucket("b", withHistory(3))
	var want []string // by revision
	write := func(n int) {
		for range n {
			key := fmt.Sprintf("k.%d", rng.IntN(20))
			if rng.IntN(5) == 0 {
				mustDo(t)(b.Delete(ctx, key))
				want = append(want, "-"+key)
				continue
			}
			value := fmt.Sprint(len(want)) + strings.Repeat("v", rng.IntN(20_000))
			mustDo(t)(b.PutString(ctx, key, value))
			want = append(want, key+"="+value)
		}
	}
	write(100)
	h.reopen()
	b = h.find("b")
	w := mustWatch(t, b, nil, kv.UpdatesOnly())
	if got := drain(t, w); len(got) != 0 {
		t.Fatalf("%d events came before anything happened", len(got))
	}
	began := len(want)
	for range 10 {
		write(50)
		h.checkpoint()
	}
	if n := len(h.s.list()[0].mu.segments); n < 3 {
		t.Fatalf("all is in %d segments", n)
	}
	got := drain(t, w)
	for i, u := range got {
		if word := spell(u.Entry); word != want[began+i] || u.Entry.Revision != kv.Revision(began+i+1) {
			t.Fatalf("seed %d: event %d is revision %d, %.40q, want %.40q", seed, i, u.Entry.Revision, word, want[began+i])
		}
	}
	if len(got) != len(want)-began {
		t.Fatalf("%d events came, want %d", len(got), len(want)-began)
	}
}

func spell(e *kv.Entry) string {
	if e.Operation.IsMarker() {
		return "-" + e.Key
	}
	return e.Key + "=" + string(e.Value)
}

func mustDo(t *testing.T) func(kv.Revision, error) {
	return func(_ kv.Revision, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestRecordsByRevision compares At and Next with the histories of all keys.
func TestRecordsByRevision(t *testing.T) {
	for seed := range uint64(4) {
		rng := rand.New(rand.NewPCG(seed, 0))
		h := newHarness(t)
		b := h.bucket("b", withHistory(2))
		for i := range 600 {
			switch key := fmt.Sprintf("k.%d", rng.IntN(50)); rng.IntN(6) {
			case 0:
				mustDo(t)(b.Delete(ctx, key))
			case 1:
				mustDo(t)(b.Purge(ctx, key))
			default:
				mustDo(t)(b.PutString(ctx, key, fmt.Sprint(i)+strings.Repeat("v", rng.IntN(3000))))
			}
			if rng.IntN(100) == 0 {
				h.checkpoint()
			}
		}
		checkRecords(t, seed, b)
		h.reopen()
		checkRecords(t, seed, h.find("b"))
	}
}

func checkRecords(t *testing.T, seed uint64, b *Bucket) {
	t.Helper()
	kept := make(map[kv.Revision]kv.Entry)
	for i := range 50 {
		for e, err := range b.History(ctx, fmt.Sprintf("k.%d", i)) {
			if err != nil && !errors.Is(err, kv.ErrKeyNotFound) {
				t.Fatal(err)
			}
			if err == nil {
				e.Delta = 0
				kept[e.Revision] = e
			}
		}
	}
	var next kv.Entry // the first kept above, of k.7
	for rev := kv.Revision(601); rev > 0; rev-- {
		e, err := b.At(ctx, rev)
		want, ok := kept[rev]
		if ok != (err == nil) || !ok && !errors.Is(err, kv.ErrKeyNotFound) || !same(e, want) {
			t.Fatalf("seed %d: revision %d is %q (%v), want %q", seed, rev, e.Key, err, want.Key)
		}
		if want.Key == "k.7" {
			next = want
		}
		if e, err := b.Next(ctx, "*.7", rev); (err == nil) != (next.Revision > 0) || !same(e, next) {
			t.Fatalf("seed %d: from revision %d on the next is %d (%v), want %d", seed, rev, e.Revision, err, next.Revision)
		}
	}
	if _, err := b.Next(ctx, "a..b", 1); !errors.Is(err, kv.ErrInvalidPattern) {
		t.Errorf("error of a bad pattern is %v", err)
	}
}

// same compares entries; a marker's value may be nil or empty.
func same(a, b kv.Entry) bool {
	return a.Key == b.Key && a.Revision == b.Revision && slices.Equal(a.Value, b.Value) && a.Created.Equal(b.Created) &&
		a.Operation == b.Operation && a.Reason == b.Reason && a.Delta == b.Delta
}

// TestAWatchOfDamagedRecords damages a value and a header on the disk: the first is
// an event without its value, the second ends the watch, which can be resumed
// behind it.
func TestAWatchOfDamagedRecords(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	w := mustWatch(t, b, nil, kv.UpdatesOnly())
	for i := range 5 {
		mustDo(t)(b.PutString(ctx, fmt.Sprintf("k.%d", i), strings.Repeat("v", 100)))
	}
	h.damageRecord(b, "k.1", -8)
	h.damageRecord(b, "k.3", 16)
	var errs []string
	var revisions []kv.Revision
	_, err := w.(kv.Poller).Poll(func(u kv.Update) bool {
		revisions = append(revisions, u.Entry.Revision)
		if u.Err != nil {
			errs = append(errs, u.Entry.Key)
		}
		return true
	})
	if !slices.Equal(revisions, []kv.Revision{1, 2, 3}) || !slices.Equal(errs, []string{"k.1"}) || !errors.Is(err, kv.ErrCorrupt) {
		t.Errorf("revisions %v came, without values those of %v, and then %v", revisions, errs, err)
	}
	if got := drain(t, mustWatch(t, b, nil, kv.ResumeFromRevision(5))); len(got) != 2 || got[0].Entry.Key != "k.4" {
		t.Errorf("resumed behind the damage there are %+v", got)
	}
	if got := drain(t, mustWatch(t, b, []string{"k.0", "k.1", "k.2", "k.4"})); len(got) != 5 {
		t.Errorf("a new watch of the others has %+v", got)
	}
}

// damageRecord changes a bit of the newest record of key, at an offset in bytes
// from its start or, if negative, its end.
func (h *harness) damageRecord(b *Bucket, key string, at int64) {
	h.t.Helper()
	b.mu.RLock()
	v, _ := b.mu.index.Newest(index.Hash(key), key)
	number := b.mu.segments[v.Segment].Number()
	b.mu.RUnlock()
	if at < 0 {
		at += int64(v.Size)
	}
	h.flip(path.Join(testDir, manifest.SegmentDir, segment.FileName(number)), v.Offset+at, 0)
}

// A scan reads an index block before it is written, and finds a gap of revisions after it:
// the segment was sealed and the next one compacted before the scan reached that one.
// Nothing is damaged.
func TestAScanPassesAnIndexBlockThatIsNotWritten(t *testing.T) {
	h := newHarness(t, func(o *Options) { o.SegmentSize = 16 << 10 })
	b := h.bucket("b", lax) // so the checkpoint syncs the log, before it writes index blocks
	var last kv.Revision    // the first record of the second segment
	for n := 0; n < 2; n = len(b.mu.order) {
		last = mustPut(t, b, fmt.Sprint("k.", last+1), strings.Repeat("v", 1000))
	}
	g, open := h.gateLog()
	checkpointed := make(chan error)
	go func() { checkpointed <- h.s.Checkpoint(ctx) }()
	<-g.reached // its index blocks have their places, and are not written

	var got []kv.Revision
	there, goOn, done := make(chan struct{}), make(chan struct{}), make(chan error)
	var p watch.Position
	go func() {
		done <- b.scan(&p, last+10, func(f *scanned) bool {
			got = append(got, f.record.Revision)
			if f.record.Revision == last-1 {
				close(there)
				<-goOn
			}
			return true
		})
	}()
	<-there
	open()
	if err := <-checkpointed; err != nil {
		t.Fatal(err)
	}
	for range 10 { // the record at last is dead
		mustPut(t, b, fmt.Sprint("k.", last), strings.Repeat("w", 1000))
	}
	if _, err := h.s.Reclaim(ctx, nil); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	if err := <-done; err != nil || p.Revision != last+10 || got[len(got)-1] != last+10 || slices.Contains(got, last) {
		t.Errorf("the scan has come to revision %d of %d, the last record is %d: %v", p.Revision, last+10, got[len(got)-1], err)
	}
}

// A consumer of a NATS client that begins above the next sequence gets nothing before it, as
// from nats-server. A kvd watch from there is an error.
func TestAConsumerFromTheFutureWaits(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	mustPut(t, b, "a", "1")
	w, err := b.Watch(ctx, nil, kv.ResumeFromRevision(3), func(o *kv.WatchOptions) { o.PassForgotten = true })
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if u := <-w.Updates(); u.Entry != nil {
		t.Errorf("it begins with %+v", u.Entry)
	}
	mustPut(t, b, "a", "2")
	if rev := mustPut(t, b, "b", "3"); rev != 3 {
		t.Fatalf("revision %d", rev)
	}
	if u := <-w.Updates(); u.Entry == nil || u.Entry.Revision != 3 {
		t.Errorf("then %+v", u.Entry)
	}
	_, err = b.Watch(ctx, nil, kv.ResumeFromRevision(5))
	wantError(t, err, kv.ErrFutureRevision)
}

// A record that a watch sends as it is written names the key's record before it.
func TestAWatchNamesThePreviousRecord(t *testing.T) {
	a := newAging(t)
	b := a.bucket("b", func(c *kv.Config) { c.MarkerTTL = time.Hour })
	mustPut(t, b, "a", "1")
	w := mustWatch(t, b, nil, kv.UpdatesOnly())
	drain(t, w)
	a.submit( // one group: the second sees the first
		kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: "a"}, kv.Mutation{Bucket: "b", Op: kv.MutateDelete, Key: "a"},
		kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: "b", TTL: time.Minute}, kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: "a", Rollup: true})
	a.clock.advance(time.Hour)
	mustPut(t, b, "b", "after its expiry marker")
	var got []string
	for _, u := range drain(t, w) {
		got = append(got, fmt.Sprintf("%s %d after %d", u.Entry.Key, u.Entry.Revision, u.Entry.Previous))
	}
	if want := "[a 2 after 1 a 3 after 2 b 4 after 0 a 5 after 3 b 6 after 4 b 7 after 6]"; fmt.Sprint(got) != want {
		t.Errorf("got %v, want %v", got, want)
	}
}
