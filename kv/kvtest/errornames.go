package kvtest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"kvd/kv"
)

// errorFacts are about the text of errors. It names the bucket and the key, and is the
// same for every store.
var errorFacts = []fact{
	{"of a key that is not found names bucket and key", func(t *trial) {
		b := t.bucket(1)
		want := fmt.Sprintf("key not found: %q in bucket %q", "some.key", b.Name())
		for _, c := range keyCalls {
			switch c.name {
			case "Get", "GetRevision", "Touch", "History":
				err := c.call(t.ctx, b, "some.key")
				t.fails(err, kv.ErrKeyNotFound)
				var named *kv.KeyError
				if !errors.As(err, &named) || named.Bucket != b.Name() || named.Key != "some.key" {
					t.Fatalf("%s: error is %#v, want a KeyError with bucket and key", c.name, err)
				}
				equal(t, "text of the error of "+c.name, err.Error(), want)
			}
		}
	}},
	{"of GetAppend for a key that is not found is the sentinel itself", func(t *trial) {
		_, _, err := t.bucket(1).GetAppend(t.ctx, nil, "some.key")
		equal(t, "error", err, kv.ErrKeyNotFound)
	}},
	{"of a bad key names bucket and key", func(t *trial) {
		b := t.bucket(1)
		want := fmt.Sprintf("bucket %q: %v", b.Name(), kv.CheckKey("a b"))
		for _, c := range keyCalls {
			equal(t, "text of the error of "+c.name, c.call(t.ctx, b, "a b").Error(), want)
		}
	}},
	{"of a refused write names bucket and key", func(t *trial) {
		b := t.makeBucket(kv.Config{MaxValueSize: 1000})
		rev := t.put(b, "some.key", "v")
		long := make([]byte, 1001)
		refused := func(want string) func(kv.Revision, error) {
			return func(_ kv.Revision, err error) {
				t.Helper()
				if err == nil {
					t.Fatal("the write was not refused")
				}
				equal(t, "text", err.Error(), want)
			}
		}
		at := fmt.Sprintf("%q in bucket %q", "some.key", b.Name())
		refused(fmt.Sprintf("key exists: %s is at revision %d", at, rev))(b.Create(t.ctx, "some.key", nil))
		refused(fmt.Sprintf("key revision mismatch: %s is at revision %d, expected %d", at, rev, rev+1))(b.Update(t.ctx, "some.key", nil, rev+1))
		refused(fmt.Sprintf("key revision mismatch: %s is at revision %d, expected %d", at, rev, rev+1))(b.Delete(t.ctx, "some.key", kv.LastRevision(rev+1)))
		refused(fmt.Sprintf("%s: value too large: value size is %d, must be 0 to 1000", at, len(long)))(b.Put(t.ctx, "some.key", long))
		refused(at + ": invalid option: LastRevision does not apply to Put")(b.Put(t.ctx, "some.key", nil, kv.LastRevision(1)))
		refused(at + ": invalid option: TTL is -1s, must be at least 1ns")(b.Touch(t.ctx, "some.key", kv.KeyTTL(-time.Second)))
	}},
	{"of a method that takes no key names the bucket", func(t *trial) {
		b := t.bucket(1)
		want := fmt.Sprintf("bucket %q: %v", b.Name(), kv.CheckPattern("a..b"))
		equal(t, "text of the error of Keys", drain(b.Keys(t.ctx, "a..b")).Error(), want)
		equal(t, "text of the error of All", drain(b.All(t.ctx, "a..b")).Error(), want)
		_, err := b.Watch(t.ctx, []string{"a..b"})
		equal(t, "text of the error of Watch", fmt.Sprint(err), want)
		_, err = b.Watch(t.ctx, nil, kv.IncludeHistory(), kv.UpdatesOnly())
		t.fails(err, kv.ErrInvalidOption)
		if !strings.HasPrefix(err.Error(), fmt.Sprintf("bucket %q: ", b.Name())) {
			t.Fatalf("error of Watch is %q, which does not begin with the bucket", err)
		}
	}},
	{"of a deleted bucket's handle names the bucket", func(t *trial) {
		b := t.bucket(1)
		t.ok(t.Store.DeleteBucket(t.ctx, b.Name()))
		for _, c := range bucketCalls() {
			if err := c.call(t.ctx, b); err == nil || !strings.Contains(err.Error(), b.Name()) {
				t.Fatalf("%s: error is %v, which does not name the bucket %q", c.name, err, b.Name())
			}
		}
	}},
	{"of a context is that of the context, unnamed", func(t *trial) {
		b := t.bucket(1)
		cancelled, cancel := context.WithCancel(t.ctx)
		cancel()
		for _, c := range bucketCalls() {
			equal(t, "error of "+c.name, c.call(cancelled, b), context.Canceled)
		}
	}},
}
