package bucket

import (
	"errors"
	"strings"
	"testing"
	"time"

	"kvd/kv"
)

// TestARefusalNamesWhatIsThere has writes be refused whose transaction wrote before them: their errors
// name a revision that the key or the bucket has, not one that was taken back.
func TestARefusalNamesWhatIsThere(t *testing.T) {
	clock := &testClock{now: time.Unix(1000, 0)}
	h := newHarness(t, func(o *Options) { o.env.Now = clock.Now })
	b := h.bucket("b")
	mustPut(t, b, "k", "v")                   // 1
	putTTL(t, b, "expired", "v", time.Second) // 2
	clock.advance(time.Second)
	update := func(key string, last kv.Revision) kv.Mutation {
		return kv.Mutation{Bucket: "b", Op: kv.MutateUpdate, Key: key, Last: last}
	}
	create := func(key string) kv.Mutation { return kv.Mutation{Bucket: "b", Op: kv.MutateCreate, Key: key} }
	ifNewest := putOf("b", "k", "w")
	ifNewest.Newest, ifNewest.IfNewest = 2, true
	for name, c := range map[string]struct {
		writes []kv.Mutation
		got    kv.Revision
		text   string
	}{
		"an update without writes before it": {[]kv.Mutation{update("k", 7)}, 1, "is at revision 1, expected 7; nothing was written"},
		"an update after a put":              {[]kv.Mutation{putOf("b", "k", "w"), update("k", 1)}, 1, "a write before it in the transaction changed that"},
		"an update after a put of a new key": {[]kv.Mutation{putOf("b", "new", "w"), update("new", 9)}, 0, "a write before it in the transaction changed that"},
		"an update of an expired key":        {[]kv.Mutation{update("expired", 2)}, 0, "the key has expired"},
		"a create after a put":               {[]kv.Mutation{putOf("b", "k", "w"), create("k")}, 1, "a write before it in the transaction changed that"},
		"a create after a put of a new key":  {[]kv.Mutation{putOf("b", "new", "w"), create("new")}, 0, "a write before it in the transaction changed that"},
		"a newest revision after a put":      {[]kv.Mutation{putOf("b", "other", "w"), ifNewest}, 2, "a write before it in the transaction changed that"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := h.s.Txn(ctx, &kv.Txn{Then: kv.Branch{Writes: c.writes}})
			var mismatch *kv.RevisionMismatchError
			if !errors.As(err, &mismatch) {
				t.Fatal(err)
			}
			if !strings.Contains(err.Error(), c.text) {
				t.Errorf("error %q does not say %q", err, c.text)
			}
			if mismatch.Got != c.got {
				t.Errorf("the error names revision %d, want %d: %v", mismatch.Got, c.got, err)
			}
		})
	}
	if b.next != 3 {
		t.Errorf("the next revision is %d", b.next)
	}
}
