package kvtest

import (
	"errors"
	"fmt"
	"strings"

	"kvd/kv"
)

const bucketNameBytes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// badBucketNames maps names outside the rules to the offending byte.
var badBucketNames = map[string]int{
	"":                       -1,
	strings.Repeat("b", 256): -1,
	"a.b":                    1,
	".":                      0,
	"a/b":                    1,
	"a b":                    1,
	"a=b":                    1,
	"a*":                     1,
	">":                      0,
	"ab\x00":                 2,
	"abc\n":                  3,
	"größe":                  2,
	"bad\xff":                3,
}

// bucketFacts are about making, finding and listing buckets.
var bucketFacts = []fact{
	{"a name may consist of every allowed byte", func(t *trial) {
		for _, name := range []string{bucketNameBytes, "x", "-", "_", "0"} {
			b := t.makeBucket(kv.Config{Bucket: name})
			equal(t, "name", b.Name(), name)
		}
	}},
	{"names differ by case", func(t *trial) {
		lower, upper := t.makeBucket(kv.Config{Bucket: "case"}), t.makeBucket(kv.Config{Bucket: "CASE"})
		t.put(lower, "k", "lower")
		t.absent(upper, "k")
	}},
	{"a name of 252 bytes is accepted", func(t *trial) {
		t.makeBucket(kv.Config{Bucket: strings.Repeat("n", 252)})
	}},
	{"a name of 255 bytes is accepted", func(t *trial) {
		_, err := t.Store.CreateBucket(t.ctx, kv.Config{Bucket: strings.Repeat("n", kv.MaxBucketNameSize)})
		if t.differs(ShorterBucketNames) {
			t.fails(err, kv.ErrInvalidBucketName)
			return
		}
		t.ok(err)
	}},
	{"a bad name is refused by every method, with the offending byte", func(t *trial) {
		for name, offset := range badBucketNames {
			for _, c := range storeCalls {
				var bad *kv.NameError
				if err := c.call(t.ctx, t.Store, name); !errors.As(err, &bad) || !errors.Is(err, kv.ErrInvalidBucketName) {
					t.Fatalf("%s(%q): error is %v, want a NameError of a bucket", c.name, name, err)
				}
				if bad.Offset != offset {
					t.Fatalf("%s(%q): offending byte is %d, want %d", c.name, name, bad.Offset, offset)
				}
			}
		}
	}},
	{"creating a bucket again with its configuration returns it as it is", func(t *trial) {
		cfg := kv.Config{Bucket: t.freshName(), History: 3, Description: "first"}
		first := t.makeBucket(cfg)
		rev := t.put(first, "k", "v")
		before := t.status(first)
		second := t.makeBucket(cfg)
		t.holds(second, "k", "v")
		after := t.status(second)
		equal(t, "id", after.ID, before.ID)
		equal(t, "revision", after.Revision, rev)
	}},
	{"creating a bucket again with its defaults spelled out returns it", func(t *trial) {
		cfg := kv.Config{Bucket: t.freshName()}
		before := t.status(t.makeBucket(cfg))
		equal(t, "id", t.status(t.makeBucket(cfg.WithDefaults())).ID, before.ID)
	}},
	{"creating a bucket again with another configuration is refused and changes nothing", func(t *trial) {
		cfg := t.fullConfig()
		before := t.status(t.makeBucket(cfg))
		for _, c := range t.configChanges() {
			other := cfg
			c.change(&other)
			_, err := t.Store.CreateBucket(t.ctx, other)
			if !errors.Is(err, kv.ErrBucketExists) {
				t.Fatalf("with another %s: error is %v, want %q", c.what, err, kv.ErrBucketExists)
			}
		}
		b, err := t.Store.Bucket(t.ctx, cfg.Bucket)
		t.ok(err)
		after := t.status(b)
		equal(t, "id", after.ID, before.ID)
		equal(t, "sameness of the configuration", after.Config.Equal(before.Config), true)
	}},
	{"an existing bucket is found by its name", func(t *trial) {
		made := t.bucket(1)
		t.put(made, "k", "v")
		found, err := t.Store.Bucket(t.ctx, made.Name())
		t.ok(err)
		equal(t, "name", found.Name(), made.Name())
		t.holds(found, "k", "v")
	}},
	{"a missing bucket is not found", func(t *trial) {
		name := t.freshName()
		_, err := t.Store.Bucket(t.ctx, name)
		t.fails(err, kv.ErrBucketNotFound)
		t.fails(t.Store.DeleteBucket(t.ctx, name), kv.ErrBucketNotFound)
		_, err = t.Store.UpdateBucket(t.ctx, kv.Config{Bucket: name})
		t.fails(err, kv.ErrBucketNotFound)
	}},
	{"buckets share neither keys nor revisions", func(t *trial) {
		a, b := t.bucket(1), t.bucket(1)
		t.put(a, "k", "of a")
		t.put(a, "k", "of a, again")
		equal(t, "first revision of the other bucket", t.put(b, "k", "of b"), 1)
		t.purge(a, "k")
		t.holds(b, "k", "of b")
		t.absent(a, "k")
	}},
	{"an empty store lists no buckets", func(t *trial) {
		s := t.harness.Open(t.T)
		names, err := collect(s.BucketNames(t.ctx))
		t.ok(err)
		equal(t, "number of names", len(names), 0)
		statuses, err := collect(s.Buckets(t.ctx))
		t.ok(err)
		equal(t, "number of statuses", len(statuses), 0)
	}},
	{"buckets are listed in ascending order of names", func(t *trial) {
		s := t.harness.Open(t.T)
		want := []string{"A", "Z", "_", "a", "a-1", "a10", "a2", "b", "gone"}
		for _, i := range []int{3, 8, 0, 7, 5, 2, 1, 6, 4} {
			_, err := s.CreateBucket(t.ctx, kv.Config{Bucket: want[i], Description: fmt.Sprint(i)})
			t.ok(err)
		}
		t.ok(s.DeleteBucket(t.ctx, "gone"))
		want = want[:len(want)-1]

		names, err := collect(s.BucketNames(t.ctx))
		t.ok(err)
		t.lists(names, want...)

		statuses, err := collect(s.Buckets(t.ctx))
		t.ok(err)
		names = names[:0]
		for i, st := range statuses {
			names = append(names, st.Config.Bucket)
			equal(t, "description", st.Config.Description, fmt.Sprint(i))
		}
		t.lists(names, want...)
	}},
	{"a listing of buckets may be left early", func(t *trial) {
		t.bucket(1)
		t.bucket(1)
		for range t.Store.BucketNames(t.ctx) {
			break
		}
		for range t.Store.Buckets(t.ctx) {
			break
		}
		names, err := collect(t.Store.BucketNames(t.ctx))
		t.ok(err)
		equal(t, "that there are two or more", len(names) >= 2, true)
	}},
}
