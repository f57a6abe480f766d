package bucket

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"kvd/bucket/cut"
	"kvd/bucket/manifest"
	"kvd/index"
	"kvd/internal/vfs/simdisk"
	"kvd/internal/view"
	"kvd/kv"
	"kvd/kv/digest"
	"kvd/kv/msglog"
)

// imported is a record of an import with a time in the past.
func imported(key string, revision kv.Revision, value string) kv.Entry {
	return kv.Entry{Key: key, Revision: revision, Created: time.Unix(1000, int64(revision)), Operation: kv.Put, Value: []byte(value)}
}

// sum returns the digest of records.
func sum(records []kv.Entry) (d kv.Digest) {
	for i := range records {
		d = d.Add(digest.OfEntry(&records[i]))
	}
	return d
}

// beginImport begins the import of a bucket.
func beginImport(t testing.TB, s *Store, config kv.Config, next kv.Revision) *Import {
	t.Helper()
	i, err := s.ImportBucket(ctx, config, next)
	if err != nil {
		t.Fatal(err)
	}
	return i.(*Import)
}

// importAll imports a bucket of these records.
func importAll(t testing.TB, s *Store, config kv.Config, next kv.Revision, records ...kv.Entry) *Bucket {
	t.Helper()
	i := beginImport(t, s, config, next)
	if err := i.Write(ctx, records); err != nil {
		t.Fatal(err)
	}
	if err := i.Commit(ctx, sum(records)); err != nil {
		t.Fatal(err)
	}
	b, err := s.Bucket(ctx, config.Bucket)
	if err != nil {
		t.Fatal(err)
	}
	return b.(*Bucket)
}

// recordsOf returns all records that a bucket keeps, in the order of revisions. Expired ones
// belong to them.
func recordsOf(t testing.TB, b *Bucket) (records []kv.Entry) {
	t.Helper()
	b.mu.RLock()
	defer b.mu.RUnlock()
	b.mu.index.All(func(key []byte, _ index.Version) bool {
		name := strings.Clone(view.String(key))
		for _, v := range b.mu.index.Versions(nil, index.Hash(name), name) {
			e, err := b.readVersion(b.mu.segments[v.Segment].Segment, name, v)
			if err != nil {
				t.Fatal(err)
			}
			e.Bucket, e.Delta = "", 0
			records = append(records, e)
		}
		return true
	})
	slices.SortFunc(records, func(a, b kv.Entry) int { return int(a.Revision) - int(b.Revision) })
	return records
}

func wantRecords(t testing.TB, what string, b *Bucket, want []kv.Entry) {
	t.Helper()
	got := recordsOf(t, b)
	if len(got) != len(want) {
		t.Fatalf("%s: %d records, want %d", what, len(got), len(want))
	}
	for n := range got {
		a, b := got[n], want[n]
		same := a.Key == b.Key && a.Revision == b.Revision && a.Operation == b.Operation && a.Reason == b.Reason &&
			a.Created.Equal(b.Created) && a.Deadline.Equal(b.Deadline) && string(a.Value) == string(b.Value) && string(a.Headers) == string(b.Headers)
		if !same {
			t.Fatalf("%s: record\n%+v, want\n%+v", what, a, b)
		}
	}
}

// A bucket with everything, imported from its records, is the same bucket, whatever its
// configuration and however the store ends.
func TestAnImportIsACopy(t *testing.T) {
	for name, change := range map[string]func(*kv.Config){
		"plain":            func(*kv.Config) {},
		"compression":      func(c *kv.Config) { c.Compression = true },
		"sync=interval":    func(c *kv.Config) { c.Sync, c.SyncInterval = kv.SyncInterval, time.Second },
		"history":          withHistory(5),
		"TTL":              withTTL(time.Minute),
		"a size limit":     withMaxBytes(1 << 20),
		"storage=memory":   func(c *kv.Config) { c.Storage = kv.MemoryStorage },
		"history, no TTL":  withHistory(kv.MaxHistory),
		"values in files":  func(c *kv.Config) { c.History, c.MaxValueSize = 2, 2<<20 },
		"compressed files": func(c *kv.Config) { c.History, c.MaxValueSize, c.Compression = 2, 2<<20, true },
	} {
		t.Run(name, func(t *testing.T) {
			a := newAging(t, withLargeValues)
			config := kv.Config{Bucket: "origin"}
			change(&config)
			origin := a.bucket("origin", change)
			rng := rand.New(rand.NewPCG(1, 1))
			for range 400 {
				digestMutation(t, rng, origin)
				a.clock.advance(time.Second)
			}
			for i := range 3 {
				value := largeText(fmt.Sprint(i))
				m := a.submit(kv.Mutation{Bucket: "origin", Op: kv.MutatePut, Key: fmt.Sprintf("large.%d", i), Value: []byte(value), Headers: []byte("head")})
				if m[0].Err != nil {
					t.Fatal(m[0].Err)
				}
			}
			want := recordsOf(t, origin)
			config.Bucket = "copy"
			b := importAll(t, a.s, config, 0, want...)
			wantRecords(t, "after the commit", b, want)
			if b.next != origin.next {
				t.Errorf("the next revision is %d, that of the origin %d", b.next, origin.next)
			}
			if got, want := mustDigest(t, b), mustDigest(t, origin); got != want {
				t.Errorf("digest %v, that of the origin %v", got, want)
			}
			if config.Storage == kv.MemoryStorage {
				return
			}
			for end, f := range map[string]func(){"a clean close": a.reopen, "kill -9": func() { a.kill(); a.open() }, "a power cut": func() { a.powerCut(); a.open() }} {
				f()
				wantRecords(t, "after "+end, a.find("copy"), want)
			}
			if _, err := a.s.Reclaim(ctx, nil); err != nil {
				t.Fatal(err)
			}
			wantRecords(t, "after a compaction", a.find("copy"), want)
		})
	}
}

// Nothing finds a bucket before its import is committed.
func TestAnImportIsHidden(t *testing.T) {
	h := newHarness(t)
	h.bucket("a")
	i := beginImport(t, h.s, kv.Config{Bucket: "b", TTL: time.Hour}, 0)
	records := []kv.Entry{imported("k", 7, "v"), imported("l", 9, "w")}
	if err := i.Write(ctx, records[:1]); err != nil {
		t.Fatal(err)
	}
	hidden := func() {
		t.Helper()
		if _, err := h.s.Bucket(ctx, "b"); !errors.Is(err, kv.ErrBucketNotFound) {
			t.Errorf("looking for it: %v", err)
		}
		if err := h.s.DeleteBucket(ctx, "b"); !errors.Is(err, kv.ErrBucketNotFound) {
			t.Errorf("deleting it: %v", err)
		}
		if _, err := h.s.UpdateBucket(ctx, kv.Config{Bucket: "b"}); !errors.Is(err, kv.ErrBucketNotFound) {
			t.Errorf("editing it: %v", err)
		}
		for name, err := range h.s.BucketNames(ctx) {
			if err != nil || name != "a" {
				t.Errorf("listed: %q, %v", name, err)
			}
		}
		for st, err := range h.s.Buckets(ctx) {
			if err != nil || st.Config.Bucket != "a" {
				t.Errorf("status listed: %+v, %v", st, err)
			}
		}
		if err := h.s.Sweep(ctx); err != nil { // all its records have expired
			t.Error(err)
		}
	}
	hidden()
	h.checkpoint()
	hidden()
	if err := i.Write(ctx, records[1:]); err != nil {
		t.Fatal(err)
	}
	hidden()
	if got := i.bucket.mu.index.Count(); got != 2 {
		t.Errorf("the hidden bucket has %d records, want 2: nothing in it expires", got)
	}
	if err := i.Commit(ctx, sum(records)); err != nil {
		t.Fatal(err)
	}
	b := h.find("b")
	if _, err := b.Get(ctx, "k"); !errors.Is(err, kv.ErrKeyNotFound) { // expired at the commit
		t.Error(err)
	}
	if err := h.s.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	wantEntries(t, b, "k", "EXPIRE@10")
	for what, err := range map[string]error{"write": i.Write(ctx, records), "commit": i.Commit(ctx, sum(records))} {
		wantError(t, err, errCommitted, "b")
		_ = what
	}
	if err := i.Discard(ctx); err != nil {
		t.Errorf("discard after the commit: %v", err)
	}
	h.find("b")
}

// The name of an import is free until its commit, for buckets and for other imports.
func TestTheNameOfAnImport(t *testing.T) {
	h := newHarness(t)
	records := []kv.Entry{imported("k", 1, "imported")}
	one, other := beginImport(t, h.s, kv.Config{Bucket: "b"}, 0), beginImport(t, h.s, kv.Config{Bucket: "b"}, 0)
	for _, i := range []*Import{one, other} {
		if err := i.Write(ctx, records); err != nil {
			t.Fatal(err)
		}
	}
	mustPut(t, h.bucket("b"), "k", "made")
	wantError(t, one.Commit(ctx, sum(records)), kv.ErrBucketExists, "b")
	mustGet(t, h.find("b"), "k", "made")
	if err := h.s.DeleteBucket(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	if err := one.Commit(ctx, sum(records)); err != nil {
		t.Fatal(err)
	}
	wantError(t, other.Commit(ctx, sum(records)), kv.ErrBucketExists, "b")
	if err := other.Discard(ctx); err != nil {
		t.Fatal(err)
	}
	wantError(t, other.Write(ctx, records), errDiscarded, "b")
	for range 2 {
		mustGet(t, h.find("b"), "k", "imported")
		h.kill()
		h.open()
	}
	if len(h.s.mu.ids) != 1 {
		t.Errorf("%d buckets, want 1", len(h.s.mu.ids))
	}
}

func TestTheDigestOfAnImport(t *testing.T) {
	h := newHarness(t)
	i := beginImport(t, h.s, kv.Config{Bucket: "b"}, 0)
	records := []kv.Entry{imported("k", 1, "v"), imported("l", 2, "v")}
	if err := i.Write(ctx, records[:1]); err != nil {
		t.Fatal(err)
	}
	err := i.Commit(ctx, sum(records))
	var mismatch *kv.DigestError
	if !errors.As(err, &mismatch) || *mismatch != (kv.DigestError{Bucket: "b", Want: sum(records), Got: sum(records[:1])}) {
		t.Fatalf("a record is missing: %v", err)
	}
	wantError(t, err, kv.ErrDigestMismatch, "b")
	if err := i.Write(ctx, records[1:]); err != nil {
		t.Fatal(err)
	}
	if err := i.Commit(ctx, sum(records)); err != nil {
		t.Error(err)
	}
	importAll(t, h.s, kv.Config{Bucket: "empty"}, 0)
}

// A record that breaks a rule is refused with its key and revision, and those of the same call are
// not written.
func TestRecordsThatBreakARule(t *testing.T) {
	a := newAging(t)
	now := a.clock.now
	change := func(f func(*kv.Entry)) kv.Entry {
		e := imported("bad", 8, "value")
		f(&e)
		return e
	}
	for name, c := range map[string]struct {
		record kv.Entry
		match  error
	}{
		"no key":                        {change(func(e *kv.Entry) { e.Key = "" }), kv.ErrInvalidKey},
		"a bad key":                     {change(func(e *kv.Entry) { e.Key = "a b" }), kv.ErrInvalidKey},
		"a long key":                    {change(func(e *kv.Entry) { e.Key = strings.Repeat("k", kv.MaxKeySize+1) }), kv.ErrInvalidKey},
		"no revision":                   {change(func(e *kv.Entry) { e.Revision = 0 }), kv.ErrInvalidRecord},
		"the revision before":           {change(func(e *kv.Entry) { e.Revision = 7 }), kv.ErrInvalidRecord},
		"an older revision":             {change(func(e *kv.Entry) { e.Revision = 6 }), kv.ErrInvalidRecord},
		"the next revision":             {change(func(e *kv.Entry) { e.Revision = 100 }), kv.ErrInvalidRecord},
		"a revision beyond all":         {change(func(e *kv.Entry) { e.Revision = kv.MaxImportRevision + 1 }), kv.ErrInvalidRecord},
		"no time":                       {change(func(e *kv.Entry) { e.Created = time.Time{} }), kv.ErrInvalidRecord},
		"a time before the one before":  {change(func(e *kv.Entry) { e.Created = time.Unix(1000, 6) }), kv.ErrInvalidRecord},
		"a time in the future":          {change(func(e *kv.Entry) { e.Created = now.Add(1) }), kv.ErrInvalidRecord},
		"a time beyond 2262":            {change(func(e *kv.Entry) { e.Created = time.Date(2500, 1, 1, 0, 0, 0, 0, time.UTC) }), kv.ErrInvalidRecord},
		"no operation":                  {change(func(e *kv.Entry) { e.Operation = 0 }), kv.ErrInvalidRecord},
		"an unknown operation":          {change(func(e *kv.Entry) { e.Operation = 4 }), kv.ErrInvalidRecord},
		"a value with a reason":         {change(func(e *kv.Entry) { e.Reason = kv.ReasonClient }), kv.ErrInvalidRecord},
		"a marker with a value":         {change(func(e *kv.Entry) { e.Operation, e.Reason = kv.Delete, kv.ReasonClient }), kv.ErrInvalidRecord},
		"a marker without a reason":     {change(func(e *kv.Entry) { e.Operation, e.Value = kv.Delete, nil }), kv.ErrInvalidRecord},
		"a delete that expired":         {change(func(e *kv.Entry) { e.Operation, e.Reason, e.Value = kv.Delete, kv.ReasonExpiry, nil }), kv.ErrInvalidRecord},
		"a marker of an unknown reason": {change(func(e *kv.Entry) { e.Operation, e.Reason, e.Value = kv.Purge, 3, nil }), kv.ErrInvalidRecord},
		"a deadline at its creation":    {change(func(e *kv.Entry) { e.Deadline = e.Created }), kv.ErrInvalidRecord},
		"a deadline beyond 2262":        {change(func(e *kv.Entry) { e.Deadline = time.Date(2500, 1, 1, 0, 0, 0, 0, time.UTC) }), kv.ErrInvalidRecord},
		"a delete with a deadline": {change(func(e *kv.Entry) {
			e.Operation, e.Reason, e.Value, e.Deadline = kv.Delete, kv.ReasonClient, nil, now
		}), kv.ErrInvalidRecord},
		"a large value": {change(func(e *kv.Entry) { e.Value = make([]byte, 101) }), kv.ErrValueTooLarge},
		"large headers": {change(func(e *kv.Entry) { e.Headers = make([]byte, kv.MaxHeadersSize+1) }), kv.ErrValueTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			i := beginImport(t, a.s, kv.Config{Bucket: "b", MaxValueSize: 100}, 100)
			good := []kv.Entry{imported("good", 7, "v")}
			if err := i.Write(ctx, good); err != nil {
				t.Fatal(err)
			}
			err := i.Write(ctx, []kv.Entry{c.record, imported("later", 9, "v")})
			wantError(t, err, c.match, "b", fmt.Sprintf("revision %d", c.record.Revision))
			if err := i.Write(ctx, []kv.Entry{imported("later", 9, "v"), c.record}); err == nil {
				t.Error("the record is accepted behind another one")
			}
			if err := i.Commit(ctx, sum(good)); err != nil {
				t.Errorf("the refused call has left something: %v", err)
			}
			if err := a.s.DeleteBucket(ctx, "b"); err != nil {
				t.Fatal(err)
			}
		})
	}
	i := beginImport(t, a.s, kv.Config{Bucket: "log", Kind: msglog.Kind}, 0)
	late := imported("k", 1, "v")
	late.Deadline = now.Add(time.Hour)
	wantError(t, i.Write(ctx, []kv.Entry{late}), kv.ErrInvalidRecord, "log", "deadline")
	_, err := a.s.ImportBucket(ctx, kv.Config{Bucket: "b"}, kv.MaxImportRevision+2)
	wantError(t, err, kv.ErrInvalidOption, "next revision")
	_, err = a.s.ImportBucket(ctx, kv.Config{Bucket: "a b"}, 0)
	wantError(t, err, kv.ErrInvalidBucketName)
}

// A history keeps the newest records, a purge ends it, and a full bucket refuses.
func TestAnImportTrimsAsWritesDo(t *testing.T) {
	h := newHarness(t)
	purge := kv.Entry{Key: "p", Revision: 6, Created: time.Unix(1000, 6), Operation: kv.Purge, Reason: kv.ReasonClient}
	records := []kv.Entry{
		imported("k", 1, "1"), imported("k", 2, "2"), imported("p", 3, "3"), imported("k", 4, "4"), imported("p", 5, "5"), purge, imported("k", 9, "9"),
	}
	i := beginImport(t, h.s, kv.Config{Bucket: "b", History: 2}, 0)
	for n := range records {
		if err := i.Write(ctx, records[n:n+1]); err != nil {
			t.Fatal(err)
		}
	}
	kept := []kv.Entry{records[3], purge, records[6]}
	if err := i.Commit(ctx, sum(kept)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		wantRecords(t, "kept", h.find("b"), kept)
		h.kill()
		h.open()
	}
	i = beginImport(t, h.s, kv.Config{Bucket: "full", MaxBytes: 500}, 0)
	large := imported("l", 2, strings.Repeat("x", 400))
	err := i.Write(ctx, []kv.Entry{imported("k", 1, strings.Repeat("x", 200)), large})
	wantError(t, err, kv.ErrBucketFull, `"l"`, "revision 2", "full")
	wantError(t, i.Write(ctx, nil), kv.ErrBucketFull, "can only be discarded")
	wantError(t, i.Commit(ctx, kv.Digest{}), kv.ErrReadOnly, "can only be discarded")
	if err := i.Discard(ctx); err != nil {
		t.Error(err)
	}
}

// The revisions go on at the one that was given, or behind the last record. A watch that resumes
// at a revision of the import is refused, because the bucket does not know what its origin forgot.
func TestRevisionsAfterAnImport(t *testing.T) {
	for _, c := range []struct {
		next, want kv.Revision
		last       kv.Revision // where a resumed watch is not refused
	}{{0, 8, 8}, {8, 8, 8}, {9, 9, 8}, {1000, 1000, 8}} {
		t.Run(fmt.Sprint(c.next), func(t *testing.T) {
			h := newHarness(t)
			b := importAll(t, h.s, kv.Config{Bucket: "b"}, c.next, imported("k", 3, "v"), imported("l", 7, "v"))
			for range 3 {
				for from := kv.Revision(1); from <= min(c.want, 20); from++ {
					refused := from < c.last || from > c.last && from < c.want
					err := resumeAt(b, from)
					if refused != errors.Is(err, kv.ErrCompacted) || !refused && err != nil {
						t.Errorf("resumed at %d: %v, refused: %v", from, err, refused)
					}
				}
				h.kill()
				h.open()
				b = h.find("b")
			}
			if got := mustPut(t, b, "m", "v"); got != c.want {
				t.Errorf("the next revision is %d, want %d", got, c.want)
			}
			h.reopen()
			if got := mustPut(t, h.find("b"), "m", "v"); got != c.want+1 {
				t.Errorf("the revision after that is %d, want %d", got, c.want+1)
			}
		})
	}
}

// resumeAt returns the error of a watch that resumes at a revision.
func resumeAt(b *Bucket, from kv.Revision) error {
	w, err := b.Watch(ctx, nil, kv.ResumeFromRevision(from))
	if err != nil {
		return err
	}
	if err := w.Stop(); err != nil {
		return err
	}
	return w.Err()
}

// An import that is not committed is gone after a restart, and its files are removed.
func TestAnOpenDiscardsImports(t *testing.T) {
	for name, end := range map[string]func(*harness){
		"a clean close": (*harness).close, "kill -9": (*harness).kill, "a power cut": (*harness).powerCut,
	} {
		for _, checkpoint := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, checkpoint=%v", name, checkpoint), func(t *testing.T) {
				h := newHarness(t, withLargeValues)
				i := beginImport(t, h.s, kv.Config{Bucket: "b"}, 0)
				if err := i.Write(ctx, []kv.Entry{imported("k", 1, "v"), imported("l", 2, largeText("l"))}); err != nil {
					t.Fatal(err)
				}
				if checkpoint {
					h.checkpoint()
				}
				end(h)
				report := h.verify()
				if report.Err() != nil || report.Buckets != 0 {
					t.Errorf("verify found %d buckets, %v", report.Buckets, report.Err())
				}
				h.open()
				if got := h.s.Report(); !reflect.DeepEqual(got.Discarded, []string{"b"}) || got.Buckets != 0 {
					t.Errorf("report %+v", got)
				}
				if len(h.s.mu.ids) != 0 || len(h.s.checkpoint.state.Buckets) != 0 {
					t.Errorf("%d buckets, %d in the manifest", len(h.s.mu.ids), len(h.s.checkpoint.state.Buckets))
				}
				h.reopen()
				if names := h.valueFiles(); len(names) != 0 {
					t.Errorf("value files stay: %v", names)
				}
				if got := h.s.Report(); len(got.Discarded) != 0 {
					t.Errorf("discarded again: %v", got.Discarded)
				}
			})
		}
	}
}

// An import beside writers of other buckets and checkpoints, on a file system on which every call
// may be the last. The bucket is there as a whole or not at all.
func importWork(s *Store) (records []kv.Entry, committed error) {
	for n := range 40 {
		value := strings.Repeat("v", 100*n)
		if n%20 == 7 {
			value = largeText(value)
		}
		e := imported(fmt.Sprintf("key.%d", n%15), kv.Revision(3*n+1), value)
		records = append(records, e)
	}
	importer, err := s.ImportBucket(ctx, kv.Config{Bucket: "b", History: 2}, 0)
	if err != nil {
		return nil, err
	}
	other, err := s.CreateBucket(ctx, kv.Config{Bucket: "other"})
	if err != nil {
		return nil, err
	}
	kept := map[string][]kv.Entry{}
	for len(records) > 0 {
		if err := importer.Write(ctx, records[:10]); err != nil {
			return nil, errors.Join(err, importer.Discard(ctx))
		}
		for _, e := range records[:10] {
			kept[e.Key] = append(kept[e.Key], e)
			kept[e.Key] = kept[e.Key][max(0, len(kept[e.Key])-2):]
		}
		records = records[10:]
		_, _ = other.PutString(ctx, "k", "v")
		_ = s.Checkpoint(ctx)
	}
	for _, list := range kept {
		records = append(records, list...)
	}
	slices.SortFunc(records, func(a, b kv.Entry) int { return int(a.Revision) - int(b.Revision) })
	return records, importer.Commit(ctx, sum(records))
}

// checkImportWork opens the store after importWork and compares.
func (h *harness) checkImportWork(what string, records []kv.Entry, committed error) {
	h.t.Helper()
	if err := h.tryOpen(); err != nil {
		h.t.Fatalf("%s: %v", what, err)
	}
	b, err := h.s.Bucket(ctx, "b")
	switch {
	case err == nil && records == nil:
		h.t.Errorf("%s: the bucket is there before its commit", what)
	case err == nil:
		wantRecords(h.t, what, b.(*Bucket), records)
		mustPut(h.t, b.(*Bucket), "k", "v")
	case committed == nil:
		h.t.Errorf("%s: the committed bucket is gone: %v", what, err)
	case !errors.Is(err, kv.ErrBucketNotFound):
		h.t.Errorf("%s: %v", what, err)
	}
	for _, b := range h.s.all() {
		if b.hidden && len(h.s.Report().Damages) == 0 {
			h.t.Errorf("%s: bucket %d is hidden", what, b.id)
		}
	}
	if err := h.s.Close(); err != nil {
		h.t.Errorf("%s: %v", what, err)
	}
	if report := h.verify(); report.Err() != nil {
		h.t.Errorf("%s: %v", what, report.Err())
	}
}

func TestPowerCutAtEveryCallOfAnImport(t *testing.T) {
	count := newHarness(t, withLargeValues)
	before := count.fs.Calls()
	if _, err := importWork(count.s); err != nil {
		t.Fatal(err)
	}
	calls := count.fs.Calls() - before
	for n := int64(0); n <= calls; n++ {
		h := newHarness(t, withLargeValues)
		h.fs.Inject(simdisk.StopAt(h.fs.Calls() + 1 + n))
		records, committed := importWork(h.s)
		disk := h.disk
		h.close()
		for name, keep := range map[string]simdisk.Choice{"none": simdisk.KeepNone(), "all": simdisk.KeepAll(), "some": simdisk.Random(uint64(n))} {
			h.insert(disk.Crash(keep))
			h.checkImportWork(fmt.Sprintf("call %d of %d, kept %s", n, calls, name), records, committed)
		}
		if t.Failed() {
			return
		}
	}
}

func TestEveryCallOfAnImportFails(t *testing.T) {
	if _, err := importWork(newHarness(t, withLargeValues).s); err != nil {
		t.Fatal(err)
	}
	failEveryCall(t, func(s *Store) func(*harness, string) {
		records, committed := importWork(s)
		return func(h *harness, what string) { h.checkImportWork(what, records, committed) }
	})
}

// A checkpoint takes the buckets one after the other. It may have the bucket that replaces another
// one of its name, and not the deletion of that one.
func TestAnImportReplacesABucketBesideACheckpoint(t *testing.T) {
	h := newHarness(t)
	records := []kv.Entry{imported("k", 1, "new")}
	i := beginImport(t, h.s, kv.Config{Bucket: "b"}, 0)
	old := h.bucket("b")
	mustPut(t, old, "k", "old")
	if err := i.Write(ctx, records); err != nil {
		t.Fatal(err)
	}
	h.checkpoint()
	for n := range checkpointGlance { // which the checkpoint captures first
		mustPut(t, h.bucket(fmt.Sprintf("other-%d", n)), "k", "v")
	}
	i.bucket.markDirty()
	h.s.path.Lock()
	done := make(chan error)
	go func() { done <- h.s.Checkpoint(ctx) }()
	h.s.path.Unlock()
	err := h.s.DeleteBucket(ctx, "b")
	if err == nil {
		err = i.Commit(ctx, sum(records))
	}
	if err := errors.Join(err, <-done); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		h.kill()
		h.open()
		mustGet(t, h.find("b"), "k", "new")
		if len(h.s.mu.ids) != checkpointGlance+1 {
			t.Fatalf("%d buckets, want %d", len(h.s.mu.ids), checkpointGlance+1)
		}
	}
}

// The same, with the checkpoint's capture of the bucket between the operations and its own.
func TestTheManifestHidesWhatTheLogReveals(t *testing.T) {
	h := newHarness(t)
	records := []kv.Entry{imported("k", 1, "new")}
	i := beginImport(t, h.s, kv.Config{Bucket: "b"}, 0)
	h.bucket("b")
	if err := i.Write(ctx, records); err != nil {
		t.Fatal(err)
	}
	h.checkpoint()
	low := h.s.lastLSN()
	if err := errors.Join(h.s.DeleteBucket(ctx, "b"), i.Commit(ctx, sum(records))); err != nil {
		t.Fatal(err)
	}
	h.s.path.Lock()
	c := i.bucket.capture(h.s.lastLSN(), low)
	h.s.path.Unlock()
	c.describe()
	c.unpin()
	if !c.desc.Hidden {
		t.Error("the manifest would have two buckets of one name")
	}
	h.s.path.Lock()
	c = i.bucket.capture(h.s.lastLSN(), h.s.lastLSN())
	h.s.path.Unlock()
	c.unpin()
	if c.desc.Hidden {
		t.Error("the bucket stays hidden")
	}
}

// After a fault an import can be neither written to nor committed.
func TestAnImportIntoAPoisonedStore(t *testing.T) {
	h := newHarness(t)
	i := beginImport(t, h.s, kv.Config{Bucket: "b"}, 0)
	h.fail(simdisk.OpSync, "wal", errors.New("injected"))
	records := []kv.Entry{imported("k", 1, "v")}
	wantError(t, i.Write(ctx, records), kv.ErrOutcomeUnknown, "injected")
	wantError(t, i.Commit(ctx, sum(records)), kv.ErrReadOnly)
	wantError(t, i.Discard(ctx), kv.ErrReadOnly)
	h.fs.Inject(nil)
	h.kill()
	h.open()
	if len(h.s.mu.ids) != 0 {
		t.Errorf("%d buckets, want none", len(h.s.mu.ids))
	}
}

func TestACancelledImport(t *testing.T) {
	h := newHarness(t)
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := h.s.ImportBucket(ended, kv.Config{Bucket: "b"}, 0); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	i := beginImport(t, h.s, kv.Config{Bucket: "b"}, 0)
	records := []kv.Entry{imported("k", 1, "v")}
	for _, err := range []error{i.Write(ended, records), i.Commit(ended, sum(records)), i.Discard(ended)} {
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	if err := errors.Join(i.Write(ctx, records), i.Commit(ctx, sum(records))); err != nil {
		t.Errorf("nothing was begun, and yet: %v", err)
	}
}

// Revisions of an import have gaps, so the number of missing records does not tell how far they
// reach. The operation that revealed the bucket does.
func TestDamageToTheLogOfAnImport(t *testing.T) {
	for name, c := range map[string]struct {
		needle string // in the damaged frame
		bound  kv.Revision
	}{"a record of the import": {"imported", 700}, "the first write behind it": {"written", 1000}} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			b := importAll(t, h.s, kv.Config{Bucket: "b"}, 1000, imported("k", 3, "v"), imported("l", 700, "imported"))
			mustPut(t, b, "m", "written")
			mustPut(t, h.bucket("other"), "k", "v")
			h.powerCut()
			file, offset := h.locate(manifest.LogDir, c.needle)
			h.flip(file, offset, 2)
			h.open()
			if got := h.find("b").doubt().Bound; got < c.bound || got >= c.bound+1000 {
				t.Errorf("the bound is %d, and revision %d is missing", got, c.bound)
			}
		})
	}
}

// An import that is not committed is not in a backup.
func TestABackupLeavesOutImports(t *testing.T) {
	h := newHarness(t)
	mustPut(t, h.bucket("a"), "k", "v")
	i := beginImport(t, h.s, kv.Config{Bucket: "b"}, 0)
	records := []kv.Entry{imported("k", 1, "v")}
	if err := i.Write(ctx, records); err != nil {
		t.Fatal(err)
	}
	var hidden, whole keptCut
	h.backup(&hidden)
	if err := i.Commit(ctx, sum(records)); err != nil {
		t.Fatal(err)
	}
	h.backup(&whole)
	for _, c := range []struct {
		kept *keptCut
		want []string
	}{{&hidden, []string{"a"}}, {&whole, []string{"a", "b"}}} {
		var names []string
		restored := h.restore(c.kept, cut.Options{})
		for name, err := range restored.BucketNames(ctx) {
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, name)
		}
		if err := restored.Close(); err != nil {
			t.Error(err)
		}
		h.removeAll(restoredDir)
		if !slices.Equal(names, c.want) {
			t.Errorf("the backup has the buckets %q, want %q", names, c.want)
		}
	}
}

// Imports and creations that want one name at the same time: one of them gets it, and the others
// learn that.
func TestImportsRaceForAName(t *testing.T) {
	h := newHarness(t)
	records := []kv.Entry{imported("k", 1, "v")}
	for range 20 {
		const imports, creations = 4, 2
		errs := make(chan error, imports+creations)
		for n := range imports {
			i := beginImport(t, h.s, kv.Config{Bucket: "b", Description: fmt.Sprint(n)}, 0)
			go func() {
				err := errors.Join(i.Write(ctx, records), i.Commit(ctx, sum(records)))
				if err != nil {
					err = errors.Join(err, i.Discard(ctx))
				}
				errs <- err
			}()
		}
		for n := range creations {
			go func() {
				_, err := h.s.CreateBucket(ctx, kv.Config{Bucket: "b", Description: fmt.Sprint("created", n)})
				errs <- err
			}()
		}
		won := 0
		for range imports + creations {
			switch err := <-errs; {
			case err == nil:
				won++
			case !errors.Is(err, kv.ErrBucketExists):
				t.Error(err)
			}
		}
		if won != 1 || len(h.s.mu.ids) != 1 {
			t.Fatalf("%d of them have the name, and there are %d buckets", won, len(h.s.mu.ids))
		}
		if err := h.s.DeleteBucket(ctx, "b"); err != nil {
			t.Fatal(err)
		}
	}
}

// A bucket in memory is empty after a restart, as any other of its kind, and its revisions go on
// above those of the import. An import that was not committed is gone.
func TestImportsIntoMemoryAfterARestart(t *testing.T) {
	for name, end := range map[string]func(*harness){"a clean close": (*harness).close, "kill -9": (*harness).kill} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			memory := kv.Config{Bucket: "b", Storage: kv.MemoryStorage}
			importAll(t, h.s, memory, 1<<30, imported("k", 7, "v"))
			memory.Bucket = "left"
			if err := beginImport(t, h.s, memory, 0).Write(ctx, []kv.Entry{imported("k", 7, "v")}); err != nil {
				t.Fatal(err)
			}
			h.checkpoint()
			end(h)
			h.open()
			b := h.find("b")
			if n := b.mu.index.Len(); n != 0 || len(h.s.mu.ids) != 1 {
				t.Errorf("%d keys, %d buckets", n, len(h.s.mu.ids))
			}
			if got := mustPut(t, b, "k", "v"); got <= 1<<30 {
				t.Errorf("revision %d is not above the import's next", got)
			}
		})
	}
}
