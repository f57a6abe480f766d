package kvtest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"kvd/kv"
	"kvd/kv/digest"
)

// importFacts are about buckets that are imported.
var importFacts = []fact{
	{"a committed import has its records as they were", func(t *trial) {
		records := importable()
		b := t.importAll(kv.Config{History: 3}, 0, records)
		for _, want := range records {
			var found bool
			for _, got := range t.history(b, want.Key) {
				if got.Revision == want.Revision {
					want.Bucket, got.Delta, found = b.Name(), 0, true
					t.entry(got, want)
					equal(t, "time of "+want.Key, got.Created.Equal(want.Created), true)
					if got.Headers != nil { // not every front end shows them
						equal(t, "headers of "+want.Key, string(got.Headers), string(want.Headers))
					}
				}
			}
			equal(t, fmt.Sprintf("that %q has revision %d", want.Key, want.Revision), found, true)
		}
		st := t.status(b)
		equal(t, "values", st.Values, uint64(len(records)))
		equal(t, "revision of the next put", t.put(b, "next", "v"), records[len(records)-1].Revision+1)
	}},
	{"nothing sees an import before its commit, and its name is free", func(t *trial) {
		name := t.freshName()
		i := t.beginImport(kv.Config{Bucket: name}, 0)
		records := importable()
		t.ok(i.Write(t.ctx, records))
		_, err := t.Store.Bucket(t.ctx, name)
		t.fails(err, kv.ErrBucketNotFound)
		for listed, err := range t.Store.BucketNames(t.ctx) {
			t.ok(err)
			equal(t, "that the import is listed", listed == name, false)
		}
		other := t.makeBucket(kv.Config{Bucket: name})
		t.put(other, "k", "other")
		t.fails(i.Commit(t.ctx, sumOf(newest(records, 1))), kv.ErrBucketExists)
		t.holds(other, "k", "other")
		t.ok(t.Store.DeleteBucket(t.ctx, name))
		t.ok(i.Commit(t.ctx, sumOf(newest(records, 1))))
		_, err = t.Store.Bucket(t.ctx, name)
		t.ok(err)
	}},
	{"a discarded import leaves nothing, and cannot be continued", func(t *trial) {
		name := t.freshName()
		i := t.beginImport(kv.Config{Bucket: name}, 0)
		t.ok(i.Write(t.ctx, importable()))
		t.ok(i.Discard(t.ctx))
		t.ok(i.Discard(t.ctx))
		for what, err := range map[string]error{"write": i.Write(t.ctx, importable()), "commit": i.Commit(t.ctx, kv.Digest{})} {
			equal(t, what+" of a discarded import fails", err != nil, true)
		}
		_, err := t.Store.Bucket(t.ctx, name)
		t.fails(err, kv.ErrBucketNotFound)
	}},
	{"an import of other records than expected is not committed", func(t *trial) {
		name := t.freshName()
		i := t.beginImport(kv.Config{Bucket: name, History: 3}, 0)
		records := importable()
		t.ok(i.Write(t.ctx, records[:3]))
		err := i.Commit(t.ctx, sumOf(records))
		t.fails(err, kv.ErrDigestMismatch)
		var mismatch *kv.DigestError
		equal(t, "that the digests are told", errors.As(err, &mismatch), true)
		equal(t, "refusal", *mismatch, kv.DigestError{Bucket: name, Want: sumOf(records), Got: sumOf(records[:3])})
		t.ok(i.Write(t.ctx, records[3:]))
		t.ok(i.Commit(t.ctx, sumOf(records)))
	}},
	{"the history of an import keeps the newest", func(t *trial) {
		var records []kv.Entry
		for n := range 10 {
			records = append(records, importedPut("k", kv.Revision(n+1), fmt.Sprint(n)))
		}
		i := t.beginImport(kv.Config{Bucket: t.freshName(), History: 4}, 0)
		t.ok(i.Write(t.ctx, records))
		t.ok(i.Commit(t.ctx, sumOf(records[6:])))
	}},
	{"a record that breaks a rule is refused by name, and nothing of the call is written", func(t *trial) {
		good := importedPut("good", 5, "v")
		for what, bad := range map[string]kv.Entry{
			"an older revision": importedPut("bad", 5, "v"),
			"no operation":      {Key: "bad", Revision: 6, Created: good.Created},
			"no time":           {Key: "bad", Revision: 6, Operation: kv.Put},
			"a late time":       {Key: "bad", Revision: 6, Operation: kv.Put, Created: time.Now().Add(time.Hour)},
			"a marker's value":  {Key: "bad", Revision: 6, Operation: kv.Delete, Reason: kv.ReasonClient, Created: good.Created, Value: []byte("v")},
		} {
			i := t.beginImport(kv.Config{Bucket: t.freshName()}, 0)
			t.ok(i.Write(t.ctx, []kv.Entry{good}))
			err := i.Write(t.ctx, []kv.Entry{importedPut("later", 6, "v"), bad})
			t.fails(err, kv.ErrInvalidRecord)
			equal(t, what+": that the record is named", strings.Contains(err.Error(), "bad"), true)
			t.ok(i.Commit(t.ctx, sumOf([]kv.Entry{good})))
		}
		i := t.beginImport(kv.Config{Bucket: t.freshName(), MaxValueSize: 10}, 0)
		t.fails(i.Write(t.ctx, []kv.Entry{importedPut("a b", 1, "v")}), kv.ErrInvalidKey)
		t.fails(i.Write(t.ctx, []kv.Entry{importedPut("k", 1, "eleven bytes")}), kv.ErrValueTooLarge)
		t.ok(i.Discard(t.ctx))
	}},
	{"revisions go on where the import says, and a watch cannot resume before", func(t *trial) {
		b := t.importAll(kv.Config{}, 1000, []kv.Entry{importedPut("k", 7, "v")})
		for _, from := range []kv.Revision{1, 7, 500, 999} {
			t.fails(t.resumed(b, from), kv.ErrCompacted)
		}
		t.ok(t.resumed(b, 8))
		t.ok(t.resumed(b, 1000))
		equal(t, "revision of the next put", t.put(b, "k", "v"), 1000)
	}},
	{"what has expired is absent from the commit on", func(t *trial) {
		records := []kv.Entry{importedPut("gone", 1, "v"), importedPut("here", 2, "v")}
		records[0].Deadline = records[0].Created.Add(time.Second)
		b := t.importAll(kv.Config{}, 0, records)
		t.absent(b, "gone")
		t.holds(b, "here", "v")
	}},
	{"a digest does not depend on how the records came", func(t *trial) {
		written := t.bucket(2)
		for i := range 5 {
			t.put(written, fmt.Sprint(i%3), "v")
		}
		t.delete(written, "1")
		var records []kv.Entry
		for _, key := range []string{"0", "1", "2"} {
			records = append(records, t.history(written, key)...)
		}
		slices.SortFunc(records, func(a, b kv.Entry) int { return cmp.Compare(a.Revision, b.Revision) })
		want := t.status(written).Digest
		if want == nil {
			return // the store does not tell
		}
		equal(t, "digest", *want, sumOf(records))
		imported := t.importAll(kv.Config{History: 2}, 0, newest(records, 2))
		equal(t, "digest of the import", *t.status(imported).Digest, *want)
	}},
}

// importedPut is a record of an import.
func importedPut(key string, revision kv.Revision, value string) kv.Entry {
	return kv.Entry{Key: key, Revision: revision, Created: time.Unix(1_700_000_000, int64(revision)).UTC(), Operation: kv.Put, Value: []byte(value)}
}

// importable returns records of every kind, with gaps in their revisions.
func importable() []kv.Entry {
	marker := func(key string, revision kv.Revision, op kv.Operation, reason kv.MarkerReason) kv.Entry {
		e := importedPut(key, revision, "")
		e.Operation, e.Reason, e.Value = op, reason, nil
		return e
	}
	headed, late := importedPut("headed", 9, "v"), importedPut("late", 12, "v")
	headed.Headers, late.Deadline = []byte("\x00headers"), late.Created.AddDate(200, 0, 0)
	expired := marker("expired", 1<<40, kv.Purge, kv.ReasonExpiry)
	expired.Deadline = expired.Created.AddDate(200, 0, 0)
	return []kv.Entry{
		importedPut("k", 2, "1"), importedPut("k", 3, ""), headed, late, importedPut("deleted", 20, "v"),
		marker("deleted", 21, kv.Delete, kv.ReasonClient), marker("purged", 30, kv.Purge, kv.ReasonClient), expired,
		importedPut("binary", 1<<40+1, "\x00\xff\r\n"),
	}
}

// newest returns the records of which a history of that length keeps, in the order of revisions.
func newest(records []kv.Entry, history int) (kept []kv.Entry) {
	newer := map[string]int{}
	for n := len(records) - 1; n >= 0; n-- {
		if newer[records[n].Key]++; newer[records[n].Key] <= history {
			kept = append(kept, records[n])
		}
	}
	slices.Reverse(kept)
	return kept
}

func sumOf(records []kv.Entry) (d kv.Digest) {
	for n := range records {
		d = d.Add(digest.OfEntry(&records[n]))
	}
	return d
}

func (t *trial) beginImport(cfg kv.Config, next kv.Revision) kv.Importer {
	t.Helper()
	store, _ := kv.As[kv.BucketImporter](t.Store)
	i, err := store.ImportBucket(t.ctx, cfg, next)
	t.ok(err)
	return i
}

// importAll imports a bucket under a fresh name.
func (t *trial) importAll(cfg kv.Config, next kv.Revision, records []kv.Entry) kv.Bucket {
	t.Helper()
	cfg.Bucket = t.freshName()
	i := t.beginImport(cfg, next)
	t.ok(i.Write(t.ctx, records))
	t.ok(i.Commit(t.ctx, sumOf(records)))
	b, err := t.Store.Bucket(t.ctx, cfg.Bucket)
	t.ok(err)
	return b
}

// resumed returns the error of a watch that resumes at a revision; nil if it can be resumed.
func (t *trial) resumed(b kv.Bucket, from kv.Revision) error {
	t.Helper()
	w, err := b.Watch(t.ctx, nil, kv.ResumeFromRevision(from))
	if err != nil {
		return err
	}
	for u := range w.Updates() {
		if u.Entry == nil {
			break
		}
	}
	err = w.Err()
	t.ok(w.Stop())
	return err
}
