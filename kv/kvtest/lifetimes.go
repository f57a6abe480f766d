package kvtest

import (
	"errors"
	"io"

	"kvd/kv"
)

// deleteBucketFacts are about the end of a bucket.
var deleteBucketFacts = []fact{
	{"a deleted bucket is not found", func(t *trial) {
		b := t.bucket(1)
		t.put(b, "k", "v")
		t.ok(t.Store.DeleteBucket(t.ctx, b.Name()))
		_, err := t.Store.Bucket(t.ctx, b.Name())
		t.fails(err, kv.ErrBucketNotFound)
		t.fails(t.Store.DeleteBucket(t.ctx, b.Name()), kv.ErrBucketNotFound)
		names, err := collect(t.Store.BucketNames(t.ctx))
		t.ok(err)
		for _, name := range names {
			equal(t, "that the deleted bucket is listed", name == b.Name(), false)
		}
	}},
	{"every method of a deleted bucket's handle fails", func(t *trial) {
		b := t.bucket(1)
		t.put(b, "k", "v")
		t.ok(t.Store.DeleteBucket(t.ctx, b.Name()))
		for _, c := range bucketCalls() {
			if err := c.call(t.ctx, b); !errors.Is(err, kv.ErrBucketNotFound) {
				t.Fatalf("%s: error is %v, want %q", c.name, err, kv.ErrBucketNotFound)
			}
		}
	}},
	{"a bucket made again is empty, starts at revision 1 and has another id", func(t *trial) {
		cfg := kv.Config{Bucket: t.freshName(), History: 5}
		b := t.makeBucket(cfg)
		t.put(b, "k", "old")
		t.put(b, "k", "older")
		t.delete(b, "other")
		before := t.status(b)
		t.ok(t.Store.DeleteBucket(t.ctx, cfg.Bucket))

		b = t.makeBucket(cfg)
		after := t.status(b)
		equal(t, "that the id is the old one", after.ID == before.ID, false)
		equal(t, "revision", after.Revision, 0)
		equal(t, "values", after.Values, 0)
		equal(t, "keys", after.Keys, 0)
		t.lists(t.keys(b))
		t.absent(b, "k")
		t.noHistory(b, "k")
		t.noHistory(b, "other")
		_, err := b.GetRevision(t.ctx, "k", 1)
		t.fails(err, kv.ErrKeyNotFound)
		equal(t, "first revision", t.create(b, "k", "new"), 1)
	}},
	{"a bucket made again may have another configuration", func(t *trial) {
		b := t.bucket(5)
		t.ok(t.Store.DeleteBucket(t.ctx, b.Name()))
		b = t.makeBucket(kv.Config{Bucket: b.Name(), History: 2})
		equal(t, "history", t.status(b).Config.History, 2)
	}},
	{"a handle of the bucket before does not reach the one made again", func(t *trial) {
		cfg := kv.Config{Bucket: t.freshName()}
		before := t.makeBucket(cfg)
		t.ok(t.Store.DeleteBucket(t.ctx, cfg.Bucket))
		after := t.makeBucket(cfg)
		t.put(after, "k", "v")
		if t.differs(HandlesFollowNames) {
			t.holds(before, "k", "v")
			t.put(before, "k", "through the old handle")
			t.holds(after, "k", "through the old handle")
			return
		}
		for _, c := range bucketCalls() {
			if err := c.call(t.ctx, before); !errors.Is(err, kv.ErrBucketNotFound) {
				t.Fatalf("%s: error is %v, want %q", c.name, err, kv.ErrBucketNotFound)
			}
		}
		t.holds(after, "k", "v")
		equal(t, "revision", t.status(after).Revision, 1)
	}},
}

// closeFacts are about a store after its Close.
var closeFacts = []fact{
	{"every method of a closed store and its buckets fails", func(t *trial) {
		s := t.harness.Open(t.T)
		b, err := s.CreateBucket(t.ctx, kv.Config{Bucket: "b"})
		t.ok(err)
		t.put(b, "k", "v")
		t.ok(s.(io.Closer).Close())
		for _, c := range storeCalls {
			if err := c.call(t.ctx, s, "b"); !errors.Is(err, kv.ErrClosed) {
				t.Fatalf("%s: error is %v, want %q", c.name, err, kv.ErrClosed)
			}
		}
		for _, c := range listCalls {
			if err := c.call(t.ctx, s); !errors.Is(err, kv.ErrClosed) {
				t.Fatalf("%s: error is %v, want %q", c.name, err, kv.ErrClosed)
			}
		}
		for _, c := range bucketCalls() {
			if err := c.call(t.ctx, b); !errors.Is(err, kv.ErrClosed) {
				t.Fatalf("%s of a bucket: error is %v, want %q", c.name, err, kv.ErrClosed)
			}
		}
	}},
}

// reopenFacts are about the data that a restart keeps.
var reopenFacts = []fact{
	{"records, history and markers are there again", func(t *trial) {
		s := t.harness.Open(t.T)
		b, err := s.CreateBucket(t.ctx, kv.Config{Bucket: "b", History: 3})
		t.ok(err)
		for _, v := range []string{"1", "2", "3", "4"} {
			t.put(b, "trimmed", v)
		}
		t.put(b, "deleted", "v")
		t.delete(b, "deleted")
		t.put(b, "purged", "v")
		t.purge(b, "purged")
		t.put(b, "empty", "")
		t.delete(b, "never.there")
		t.put(b, "forgotten", "v")
		before := snapshot(t, b)

		s = t.harness.Reopen(t.T, s)
		b, err = s.Bucket(t.ctx, "b")
		t.ok(err)
		t.sameSnapshot(snapshot(t, b), before)
		t.lists(t.keys(b), "empty", "forgotten", "trimmed")

		// Records that were removed must not return either.
		t.delete(b, "forgotten")
		t.ok(b.PurgeDeletes(t.ctx, -1))
		before = snapshot(t, b)
		s = t.harness.Reopen(t.T, s)
		b, err = s.Bucket(t.ctx, "b")
		t.ok(err)
		t.sameSnapshot(snapshot(t, b), before)
		t.noHistory(b, "forgotten")
		equal(t, "number of entries", len(t.history(b, "trimmed")), 3)
	}},
	{"revisions go on and none is used again", func(t *trial) {
		s := t.harness.Open(t.T)
		b, err := s.CreateBucket(t.ctx, kv.Config{Bucket: "b"})
		t.ok(err)
		t.put(b, "k", "v")
		last := t.purge(b, "k")
		t.ok(b.PurgeDeletes(t.ctx, -1))
		for range 3 {
			s = t.harness.Reopen(t.T, s)
			b, err = s.Bucket(t.ctx, "b")
			t.ok(err)
			rev := t.put(b, "k", "v")
			if rev <= last {
				t.Fatalf("revision %d after %d", rev, last)
			}
			last = t.purge(b, "k")
			t.ok(b.PurgeDeletes(t.ctx, -1))
		}
	}},
	{"buckets keep their configuration and id, edits and deletions included", func(t *trial) {
		s := t.harness.Open(t.T)
		cfg := t.fullConfig()
		for _, c := range []kv.Config{cfg, {Bucket: "gone"}, {Bucket: "again"}} {
			_, err := s.CreateBucket(t.ctx, c)
			t.ok(err)
		}
		t.ok(s.DeleteBucket(t.ctx, "gone"))
		t.ok(s.DeleteBucket(t.ctx, "again"))
		_, err := s.CreateBucket(t.ctx, kv.Config{Bucket: "again", History: 9})
		t.ok(err)
		cfg.Description, cfg.History = "edited", 11
		_, err = s.UpdateBucket(t.ctx, cfg)
		t.ok(err)
		before, err := collect(s.Buckets(t.ctx))
		t.ok(err)

		s = t.harness.Reopen(t.T, s)
		after, err := collect(s.Buckets(t.ctx))
		t.ok(err)
		equal(t, "number of buckets", len(after), 2)
		for i := range after {
			equal(t, "id", after[i].ID, before[i].ID)
			equal(t, "creation time", after[i].Created.UnixNano(), before[i].Created.UnixNano())
			equal(t, "sameness of the configuration", after[i].Config.Equal(before[i].Config), true)
		}
		equal(t, "history", after[1].Config.History, 11)
		_, err = s.Bucket(t.ctx, "gone")
		t.fails(err, kv.ErrBucketNotFound)
	}},
}

// snapshot is the whole content of a bucket, for comparing before and after.
func snapshot(t *trial, b kv.Bucket) (entries []kv.Entry) {
	t.Helper()
	for _, key := range []string{"trimmed", "deleted", "purged", "empty", "never.there", "forgotten"} {
		history, err := collect(b.History(t.ctx, key))
		if !errors.Is(err, kv.ErrKeyNotFound) {
			t.ok(err)
		}
		entries = append(entries, history...)
	}
	return entries
}

func (t *trial) sameSnapshot(got, want []kv.Entry) {
	t.Helper()
	equal(t, "number of entries", len(got), len(want))
	for i := range got {
		t.entry(got[i], want[i])
		equal(t, "creation time", got[i].Created.UnixNano(), want[i].Created.UnixNano())
	}
}
