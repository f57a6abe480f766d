package kvtest

import (
	"errors"
	"strconv"

	"kvd/kv"
)

// atomicallyFacts are about kv.Atomically.
var atomicallyFacts = []fact{
	{"reads and writes are one step", func(t *trial) {
		a, b := t.bucket(1), t.bucket(1)
		const clients, each = 4, 8
		errs := make([]error, clients)
		together(clients, func(i int) {
			for n := 0; n < each && errs[i] == nil; n++ {
				errs[i] = kv.Atomically(t.ctx, t.Store, func(tx *kv.Tx) error { return transfer(tx, a.Name(), b.Name()) })
				if errors.Is(errs[i], kv.ErrContended) {
					errs[i], n = nil, n-1
				}
			}
		})
		for _, err := range errs {
			t.ok(err)
		}
		t.holds(a, "n", strconv.Itoa(-clients*each))
		t.holds(b, "n", strconv.Itoa(clients*each))
	}},
	{"it reads what it wrote", func(t *trial) {
		b := t.bucket(1)
		t.put(b, "gone", "1")
		t.ok(kv.Atomically(t.ctx, t.Store, func(tx *kv.Tx) error {
			t.ok(tx.Put(b.Name(), "k", []byte("1")))
			t.ok(tx.Delete(b.Name(), "gone"))
			e, err := tx.Get(b.Name(), "k")
			t.ok(err)
			equal(t, "its own value", string(e.Value), "1")
			_, err = tx.Get(b.Name(), "gone")
			t.fails(err, kv.ErrKeyNotFound)
			return nil
		}))
		t.holds(b, "k", "1")
		t.absent(b, "gone")
	}},
	{"an error of the function writes nothing", func(t *trial) {
		b := t.bucket(1)
		enough := errors.New("enough")
		t.fails(kv.Atomically(t.ctx, t.Store, func(tx *kv.Tx) error {
			t.ok(tx.Put(b.Name(), "k", []byte("1")))
			return enough
		}), enough)
		t.absent(b, "k")
	}},
	{"it runs again where a key was written meanwhile, or made", func(t *trial) {
		b := t.bucket(1)
		t.put(b, "k", "1")
		for _, key := range []string{"k", "new"} {
			runs := 0
			t.ok(kv.Atomically(t.ctx, t.Store, func(tx *kv.Tx) error {
				if _, err := tx.Get(b.Name(), key); err != nil && !errors.Is(err, kv.ErrKeyNotFound) {
					return err
				}
				if runs++; runs == 1 {
					t.put(b, key, "2")
				}
				return tx.Put(b.Name(), "result", []byte(key))
			}))
			equal(t, "number of runs", runs, 2)
			t.holds(b, "result", key)
		}
	}},
	{"it gives up in the end", func(t *trial) {
		b := t.bucket(1)
		t.fails(kv.Atomically(t.ctx, t.Store, func(tx *kv.Tx) error {
			if _, err := tx.Get(b.Name(), "k"); err != nil && !errors.Is(err, kv.ErrKeyNotFound) {
				return err
			}
			t.put(b, "k", "2")
			return tx.Put(b.Name(), "k", []byte("1"))
		}), kv.ErrContended)
		t.holds(b, "k", "2")
	}},
}

// transfer moves one from the number of a bucket to that of another.
func transfer(tx *kv.Tx, from, to string) error {
	for bucket, change := range map[string]int{from: -1, to: 1} {
		e, err := tx.Get(bucket, "n")
		if err != nil && !errors.Is(err, kv.ErrKeyNotFound) {
			return err
		}
		n, _ := strconv.Atoi(string(e.Value))
		if err := tx.Put(bucket, "n", []byte(strconv.Itoa(n+change))); err != nil {
			return err
		}
	}
	return nil
}
