package kvtest

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"kvd/kv"
)

// submit gives mutations to the store, which must accept all of them.
func (t *trial) submit(mutations ...kv.Mutation) []kv.Mutation {
	t.Helper()
	t.ok(t.submitter().Submit(t.ctx, mutations))
	return mutations
}

// submitFacts are about many mutations in one call.
var submitFacts = []fact{
	{"every mutation does what the method of its name does", func(t *trial) {
		b := t.bucket(10)
		rev := t.put(b, "updated", "1")
		t.put(b, "deleted", "1")
		t.put(b, "purged", "1")
		t.put(b, "touched", "1")
		for _, m := range t.submit(
			kv.Mutation{Bucket: b.Name(), Op: kv.MutatePut, Key: "put", Value: []byte("2")},
			kv.Mutation{Bucket: b.Name(), Op: kv.MutateCreate, Key: "created", Value: []byte("2")},
			kv.Mutation{Bucket: b.Name(), Op: kv.MutateUpdate, Key: "updated", Value: []byte("2"), Last: rev},
			kv.Mutation{Bucket: b.Name(), Op: kv.MutateDelete, Key: "deleted"},
			kv.Mutation{Bucket: b.Name(), Op: kv.MutatePurge, Key: "purged"},
			kv.Mutation{Bucket: b.Name(), Op: kv.MutateTouch, Key: "touched"},
			kv.Mutation{Bucket: b.Name(), Op: kv.MutatePut, Key: "empty"},
		) {
			t.ok(m.Err)
			entries := t.history(b, m.Key)
			equal(t, "revision of "+m.Key, entries[len(entries)-1].Revision, m.Revision)
		}
		t.holds(b, "put", "2")
		t.holds(b, "created", "2")
		t.holds(b, "updated", "2")
		t.holds(b, "touched", "1")
		t.holds(b, "empty", "")
		t.absent(b, "deleted")
		equal(t, "number of entries of a deleted key", len(t.history(b, "deleted")), 2)
		t.absent(b, "purged")
		equal(t, "number of entries of a purged key", len(t.history(b, "purged")), 1)
		equal(t, "number of entries of a touched key", len(t.history(b, "touched")), 2)
	}},
	{"they act in order, and each sees those before it", func(t *trial) {
		b := t.bucket(20)
		op := func(op kv.MutationOp, value string) kv.Mutation {
			return kv.Mutation{Bucket: b.Name(), Op: op, Key: "k", Value: []byte(value)}
		}
		ms := t.submit(
			op(kv.MutateTouch, ""), // refused: there is no value yet
			op(kv.MutateCreate, "1"),
			op(kv.MutateCreate, "2"), // refused
			op(kv.MutateTouch, ""),
			op(kv.MutateDelete, ""),
			op(kv.MutateTouch, ""), // refused
			op(kv.MutateCreate, "3"),
			op(kv.MutatePurge, ""),
			op(kv.MutateCreate, "4"),
			op(kv.MutateUpdate, "5"), // refused: 0 means that there must be no record
			op(kv.MutatePut, "6"),
		)
		t.fails(ms[0].Err, kv.ErrKeyNotFound)
		t.mismatch(ms[2].Err, kv.RevisionMismatchError{Bucket: b.Name(), Key: "k", Got: ms[1].Revision, Create: true})
		t.fails(ms[5].Err, kv.ErrKeyNotFound)
		t.mismatch(ms[9].Err, kv.RevisionMismatchError{Bucket: b.Name(), Key: "k", Got: ms[8].Revision})
		var last kv.Revision
		for _, i := range []int{1, 3, 4, 6, 7, 8, 10} {
			t.ok(ms[i].Err)
			equal(t, "that the revision rose", ms[i].Revision > last, true)
			last = ms[i].Revision
		}
		t.holds(b, "k", "6")
		equal(t, "number of entries since the purge", len(t.history(b, "k")), 3)
	}},
	{"an update may expect the revision of one before", func(t *trial) {
		b := t.bucket(5)
		first := t.put(b, "k", "1")
		ms := t.submit(
			kv.Mutation{Bucket: b.Name(), Op: kv.MutateUpdate, Key: "k", Value: []byte("2"), Last: first},
			kv.Mutation{Bucket: b.Name(), Op: kv.MutateUpdate, Key: "k", Value: []byte("3"), Last: first},
		)
		t.ok(ms[0].Err)
		t.mismatch(ms[1].Err, kv.RevisionMismatchError{Bucket: b.Name(), Key: "k", Want: first, Got: ms[0].Revision})
		t.holds(b, "k", "2")
	}},
	{"each fails by itself", func(t *trial) {
		b := t.makeBucket(kv.Config{MaxValueSize: 100})
		rev := t.put(b, "k", "1")
		ms := t.submit(
			kv.Mutation{Bucket: b.Name(), Op: kv.MutatePut, Key: "a b", Value: []byte("v")},
			kv.Mutation{Bucket: t.freshName(), Op: kv.MutatePut, Key: "k", Value: []byte("v")},
			kv.Mutation{Bucket: "not a name", Op: kv.MutatePut, Key: "k", Value: []byte("v")},
			kv.Mutation{Bucket: b.Name(), Op: kv.MutatePut, Key: "k", Value: make([]byte, 101)},
			kv.Mutation{Bucket: b.Name(), Op: kv.MutateUpdate, Key: "k", Value: []byte("v"), Last: rev + 9},
			kv.Mutation{Bucket: b.Name(), Op: kv.MutateDelete, Key: "k", Last: rev + 9, IfLast: true},
			kv.Mutation{Bucket: b.Name(), Op: kv.MutatePurge, Key: "k", Last: 0, IfLast: true},
			kv.Mutation{Bucket: b.Name(), Op: kv.MutatePut, Key: "k", Value: []byte("2")},
		)
		for i, want := range []error{
			kv.ErrInvalidKey, kv.ErrBucketNotFound, kv.ErrInvalidBucketName, kv.ErrValueTooLarge,
			kv.ErrKeyRevisionMismatch, kv.ErrKeyRevisionMismatch, kv.ErrKeyRevisionMismatch,
		} {
			t.fails(ms[i].Err, want)
			equal(t, "revision of a refused mutation", ms[i].Revision, 0)
		}
		t.ok(ms[7].Err)
		t.holds(b, "k", "2")
	}},
	{"one of no known operation fails", func(t *trial) {
		b := t.bucket(1)
		for _, op := range []kv.MutationOp{0, 99} {
			ms := t.submit(
				kv.Mutation{Bucket: b.Name(), Op: op, Key: "k", Value: []byte("v")},
				kv.Mutation{Bucket: b.Name(), Op: kv.MutatePut, Key: "l", Value: []byte("v")},
			)
			equal(t, "that it failed", ms[0].Err != nil, true)
			t.ok(ms[1].Err)
		}
		t.absent(b, "k")
	}},
	{"deletes honour an expected revision only if asked to", func(t *trial) {
		b := t.bucket(5)
		rev := t.put(b, "k", "v")
		ms := t.submit(
			kv.Mutation{Bucket: b.Name(), Op: kv.MutateDelete, Key: "k", Last: rev, IfLast: true},
			kv.Mutation{Bucket: b.Name(), Op: kv.MutateDelete, Key: "k", Last: rev},
		)
		t.ok(ms[0].Err)
		t.ok(ms[1].Err)
	}},
	{"one may expect the bucket to be at a revision, whatever its key", func(t *trial) {
		b, other := t.bucket(5), t.bucket(5)
		first := t.put(b, "k", "1")
		second := t.put(b, "l", "1")
		t.put(other, "k", "1")
		expect := func(op kv.MutationOp, key string, newest kv.Revision) kv.Mutation {
			return kv.Mutation{Bucket: b.Name(), Op: op, Key: key, Value: []byte("2"), IfNewest: true, Newest: newest}
		}
		if t.differs(NoBucketConditions) {
			t.fails(t.submit(expect(kv.MutatePut, "k", second))[0].Err, kv.ErrNotSupported)
			return
		}
		key := expect(kv.MutateUpdate, "k", first) // both conditions fail: the error is the key's
		key.Last = second
		ms := t.submit(
			expect(kv.MutatePut, "k", first), // refused
			key,                              // refused
			expect(kv.MutatePut, "k", second),
			expect(kv.MutatePut, "k", second), // refused: this call has written a newer record
			expect(kv.MutateDelete, "m", 0),   // refused
			expect(kv.MutateDelete, "l", second+1),
			expect(kv.MutateTouch, "k", second+2), // refused
		)
		refusal := kv.RevisionMismatchError{Bucket: b.Name(), Want: first, Got: second}
		t.mismatch(ms[0].Err, refusal)
		t.mismatch(ms[1].Err, kv.RevisionMismatchError{Bucket: b.Name(), Key: "k", Want: second, Got: first})
		t.ok(ms[2].Err)
		refusal.Want, refusal.Got = second, ms[2].Revision
		t.mismatch(ms[3].Err, refusal)
		refusal.Want = 0
		t.mismatch(ms[4].Err, refusal)
		t.ok(ms[5].Err)
		t.fails(ms[6].Err, kv.ErrInvalidOption)
		equal(t, "revision", t.status(b).Revision, second+2)
		t.holds(b, "k", "2")
		t.absent(b, "l")
	}},
	{"one may expect the bucket to be new", func(t *trial) {
		b := t.bucket(1)
		if t.differs(NoBucketConditions) {
			return
		}
		m := kv.Mutation{Bucket: b.Name(), Op: kv.MutatePut, Key: "k", IfNewest: true}
		ms := t.submit(m, m)
		t.ok(ms[0].Err)
		t.mismatch(ms[1].Err, kv.RevisionMismatchError{Bucket: b.Name(), Got: ms[0].Revision})
	}},
	{"they may go to several buckets", func(t *trial) {
		a, b := t.bucket(1), t.bucket(1)
		ms := t.submit(
			kv.Mutation{Bucket: a.Name(), Op: kv.MutatePut, Key: "k", Value: []byte("of a")},
			kv.Mutation{Bucket: b.Name(), Op: kv.MutatePut, Key: "k", Value: []byte("of b")},
			kv.Mutation{Bucket: a.Name(), Op: kv.MutateDelete, Key: "l"},
		)
		for _, m := range ms {
			t.ok(m.Err)
		}
		t.holds(a, "k", "of a")
		t.holds(b, "k", "of b")
		equal(t, "revision of the one", t.status(a).Revision, 2)
		equal(t, "revision of the other", t.status(b).Revision, 1)
	}},
	{"there may be none", func(t *trial) {
		t.submit()
	}},
	{"there may be thousands", func(t *trial) {
		b := t.bucket(1)
		var ms []kv.Mutation
		for i := range 5000 {
			ms = append(ms, kv.Mutation{Bucket: b.Name(), Op: kv.MutatePut, Key: fmt.Sprint("k", i%1000), Value: fmt.Append(nil, i)})
		}
		for i, m := range t.submit(ms...) {
			t.ok(m.Err)
			equal(t, "that the revision rose", i == 0 || m.Revision > ms[i-1].Revision, true)
		}
		equal(t, "number of keys", t.status(b).Keys, 1000)
		t.holds(b, "k7", "4007")
	}},
	{"together they may be larger than any one may be", func(t *trial) {
		b := t.bucket(1)
		value := bytes.Repeat([]byte("v"), kv.MaxValueSizeDefault)
		var ms []kv.Mutation
		for i := range 6 {
			ms = append(ms, kv.Mutation{Bucket: b.Name(), Op: kv.MutatePut, Key: fmt.Sprint("k", i), Value: value})
		}
		for _, m := range t.submit(ms...) {
			t.ok(m.Err)
		}
		for i := range 6 {
			equal(t, "length", len(t.get(b, fmt.Sprint("k", i)).Value), len(value))
		}
	}},
	{"keys and values may be reused once it has returned", func(t *trial) {
		b := t.bucket(1)
		value := []byte("value")
		t.submit(kv.Mutation{Bucket: b.Name(), Op: kv.MutatePut, Key: strings.Clone("k"), Value: value})
		clear(value)
		t.holds(b, "k", "value")
	}},
	{"with a context that has ended nothing is written and each carries its error", func(t *trial) {
		b := t.bucket(1)
		cancelled, cancel := context.WithCancel(t.ctx)
		cancel()
		ms := []kv.Mutation{
			{Bucket: b.Name(), Op: kv.MutatePut, Key: "k", Value: []byte("v")},
			{Bucket: b.Name(), Op: kv.MutateDelete, Key: "l"},
		}
		t.fails(t.submitter().Submit(cancelled, ms), context.Canceled)
		for _, m := range ms {
			t.fails(m.Err, context.Canceled)
		}
		equal(t, "revision", t.status(b).Revision, 0)
	}},
	{"beside single writes no record is lost", func(t *trial) {
		b := t.bucket(64)
		var errs [callers]error
		together(callers, func(i int) {
			key := fmt.Sprint("k", i)
			for range 5 {
				if _, errs[i] = b.Put(t.ctx, key, nil); errs[i] != nil {
					return
				}
				ms := make([]kv.Mutation, 4)
				for n := range ms {
					ms[n] = kv.Mutation{Bucket: b.Name(), Op: kv.MutatePut, Key: key}
				}
				if errs[i] = t.submitter().Submit(t.ctx, ms); errs[i] != nil {
					return
				}
			}
		})
		for i, err := range errs {
			t.ok(err)
			equal(t, "number of entries", len(t.history(b, fmt.Sprint("k", i))), 25)
		}
		equal(t, "values", t.status(b).Values, 25*callers)
	}},
}

// submitter returns the store as a kv.Submitter. These facts run only for stores that
// implement it.
func (t *trial) submitter() kv.Submitter {
	s, ok := kv.As[kv.Submitter](t.Store)
	if !ok {
		t.Fatal("the store is no kv.Submitter")
	}
	return s
}
