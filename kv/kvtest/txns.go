package kvtest

import (
	"errors"
	"strconv"

	"kvd/kv"
)

// txn carries out a transaction, which the store must accept.
func (t *trial) txn(x *kv.Txn) kv.TxnResult {
	t.Helper()
	transactor, _ := kv.As[kv.Transactor](t.Store)
	r, err := transactor.Txn(t.ctx, x)
	t.ok(err)
	return r
}

// refusedTxn carries out a transaction, which the store must refuse because of that part of it.
func (t *trial) refusedTxn(x *kv.Txn, part kv.TxnPart, op int) error {
	t.Helper()
	transactor, _ := kv.As[kv.Transactor](t.Store)
	_, err := transactor.Txn(t.ctx, x)
	var refused *kv.TxnError
	if !errors.As(err, &refused) {
		t.Fatalf("error is %v, want a TxnError", err)
	}
	equal(t, "the part that was refused", refused.Part, part)
	equal(t, "its number", refused.Op, op)
	equal(t, "that it was carried out", refused.Done, false)
	return err
}

// putIn returns a put for a transaction.
func putIn(b kv.Bucket, key, value string) kv.Mutation {
	return kv.Mutation{Bucket: b.Name(), Op: kv.MutatePut, Key: key, Value: []byte(value)}
}

// txnFacts are about transactions.
var txnFacts = []fact{
	{"all writes are done where the conditions hold", func(t *trial) {
		a, b := t.bucket(5), t.bucket(5)
		rev := t.put(a, "k", "1")
		x := kv.Txn{
			If: []kv.Cond{
				{Bucket: a.Name(), Key: "k", Is: kv.AtRevision, Revision: rev},
				{Bucket: a.Name(), Key: "k", Is: kv.ValueIs, Value: []byte("1")},
				{Bucket: b.Name(), Key: "k", Is: kv.Absent},
				{Bucket: b.Name(), Is: kv.BucketAtRevision},
			},
			Then: kv.Branch{Writes: []kv.Mutation{
				putIn(a, "k", "2"), putIn(b, "k", "3"),
				{Bucket: a.Name(), Op: kv.MutateDelete, Key: "k"},
				{Bucket: a.Name(), Op: kv.MutateCreate, Key: "k", Value: []byte("4")},
			}},
			Else: kv.Branch{Writes: []kv.Mutation{putIn(a, "k", "else")}},
		}
		equal(t, "the branch", t.txn(&x).Then, true)
		t.holds(a, "k", "4")
		t.holds(b, "k", "3")
		equal(t, "number of entries", len(t.history(a, "k")), 4)
		for i, m := range x.Then.Writes {
			b, err := t.Store.Bucket(t.ctx, m.Bucket)
			t.ok(err)
			found := false
			for _, e := range t.history(b, m.Key) {
				found = found || e.Revision == m.Revision
			}
			equal(t, "that write "+strconv.Itoa(i)+" names its revision", found, true)
		}
		equal(t, "revision of a write of the other branch", x.Else.Writes[0].Revision, 0)
	}},
	{"the else branch is done where one does not", func(t *trial) {
		b := t.bucket(5)
		t.put(b, "k", "1")
		x := kv.Txn{
			If:   []kv.Cond{{Bucket: b.Name(), Key: "k", Is: kv.Exists}, {Bucket: b.Name(), Key: "l", Is: kv.Exists}},
			Then: kv.Branch{Writes: []kv.Mutation{putIn(b, "k", "then")}},
			Else: kv.Branch{Writes: []kv.Mutation{putIn(b, "l", "else")}, Reads: []kv.KeyRef{{Bucket: b.Name(), Key: "k"}}},
		}
		r := t.txn(&x)
		equal(t, "the branch", r.Then, false)
		equal(t, "what it read", string(r.Entries[0].Value), "1")
		t.holds(b, "k", "1")
		t.holds(b, "l", "else")
		equal(t, "that the write names its revision", x.Else.Writes[0].Revision, t.get(b, "l").Revision)
	}},
	{"reads see the state after the writes", func(t *trial) {
		b := t.bucket(1)
		t.put(b, "l", "there")
		r := t.txn(&kv.Txn{Then: kv.Branch{
			Writes: []kv.Mutation{putIn(b, "k", "1"), putIn(b, "k", "2")},
			Reads:  []kv.KeyRef{{Bucket: b.Name(), Key: "k"}, {Bucket: b.Name(), Key: "none"}, {Bucket: b.Name(), Key: "l"}},
		}})
		equal(t, "number of entries", len(r.Entries), 3)
		t.entry(r.Entries[0], t.get(b, "k"))
		t.entry(r.Entries[2], t.get(b, "l"))
		equal(t, "revision of a key without a value", r.Entries[1].Revision, 0)
		equal(t, "its key", r.Entries[1].Key, "none")
		equal(t, "newest revision", r.At[b.Name()], t.get(b, "k").Revision)
	}},
	{"a refused write refuses all", func(t *trial) {
		a, b := t.bucket(5), t.bucket(5)
		rev := t.put(b, "k", "1")
		x := kv.Txn{Then: kv.Branch{Writes: []kv.Mutation{
			putIn(a, "k", "2"), putIn(b, "k", "2"),
			{Bucket: b.Name(), Op: kv.MutateUpdate, Key: "k", Value: []byte("3"), Last: rev},
		}}}
		err := t.refusedTxn(&x, kv.ThenWrite, 2)
		t.fails(err, kv.ErrKeyRevisionMismatch)
		t.absent(a, "k")
		t.holds(b, "k", "1")
		equal(t, "revision of a write that was not done", x.Then.Writes[0].Revision, 0)
		equal(t, "the next revision", t.put(b, "k", "4"), rev+1)
	}},
	{"a bad name refuses all, in either branch", func(t *trial) {
		b := t.bucket(1)
		x := kv.Txn{Then: kv.Branch{Writes: []kv.Mutation{putIn(b, "k", "1")}}}
		x.Else.Writes = []kv.Mutation{putIn(b, "k", ""), putIn(b, "a b", "")}
		t.fails(t.refusedTxn(&x, kv.ElseWrite, 1), kv.ErrInvalidKey)
		x.Else.Writes = nil
		x.If = []kv.Cond{{Bucket: t.freshName(), Key: "k", Is: kv.Absent}}
		t.fails(t.refusedTxn(&x, kv.TxnIf, 0), kv.ErrBucketNotFound)
		t.absent(b, "k")
	}},
	{"conditions name one life of a bucket", func(t *trial) {
		b := t.bucket(1)
		x := kv.Txn{If: []kv.Cond{{Bucket: b.Name(), Key: "k", Is: kv.Absent, BucketID: t.status(b).ID}}}
		equal(t, "the branch", t.txn(&x).Then, true)
		x.If[0].BucketID++
		t.fails(t.refusedTxn(&x, kv.TxnIf, 0), kv.ErrBucketNotFound)
	}},
	{"too many writes are refused", func(t *trial) {
		b := t.bucket(1)
		x := kv.Txn{Then: kv.Branch{Writes: make([]kv.Mutation, kv.MaxTxnOps+1)}}
		for i := range x.Then.Writes {
			x.Then.Writes[i] = putIn(b, "k", "")
		}
		transactor, _ := kv.As[kv.Transactor](t.Store)
		_, err := transactor.Txn(t.ctx, &x)
		t.fails(err, kv.ErrTxnTooLarge)
		t.absent(b, "k")
	}},
	{"a watch gets the writes in order", func(t *trial) {
		b := t.bucket(5)
		w, err := b.Watch(t.ctx, nil, kv.UpdatesOnly())
		t.ok(err)
		x := kv.Txn{Then: kv.Branch{Writes: []kv.Mutation{putIn(b, "k", "1"), putIn(b, "l", "2"), putIn(b, "k", "3")}}}
		t.txn(&x)
		for i := range x.Then.Writes {
			u := <-w.Updates()
			equal(t, "revision of an event", u.Entry.Revision, x.Then.Writes[i].Revision)
		}
		t.ok(w.Stop())
	}},
	{"of transactions at once each counts", func(t *trial) {
		a, b := t.bucket(1), t.bucket(1)
		const clients, each = 4, 10
		errs := make([]error, clients)
		transactor, _ := kv.As[kv.Transactor](t.Store)
		together(clients, func(i int) {
			for done := 0; done < each && errs[i] == nil; {
				keys := []kv.KeyRef{{Bucket: a.Name(), Key: "n"}, {Bucket: b.Name(), Key: "n"}}
				r, err := transactor.Txn(t.ctx, &kv.Txn{Then: kv.Branch{Reads: keys}})
				if err != nil {
					errs[i] = err
					return
				}
				n, _ := strconv.Atoi(string(r.Entries[0].Value))
				m, _ := strconv.Atoi(string(r.Entries[1].Value))
				if n != -m {
					errs[i] = errors.New("one transaction saw a part of another")
					return
				}
				x := kv.Txn{
					If: []kv.Cond{
						{Bucket: a.Name(), Key: "n", Is: kv.AtRevision, Revision: r.Entries[0].Revision},
						{Bucket: b.Name(), Key: "n", Is: kv.AtRevision, Revision: r.Entries[1].Revision},
					},
					Then: kv.Branch{Writes: []kv.Mutation{putIn(b, "n", strconv.Itoa(m-1)), putIn(a, "n", strconv.Itoa(n+1))}},
				}
				if r, err = transactor.Txn(t.ctx, &x); r.Then {
					done++
				}
				errs[i] = err
			}
		})
		for _, err := range errs {
			t.ok(err)
		}
		t.holds(a, "n", strconv.Itoa(clients*each))
		t.holds(b, "n", strconv.Itoa(-clients*each))
	}},
}
