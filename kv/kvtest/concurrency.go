package kvtest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"

	"kvd/kv"
)

const callers = 16 // goroutines that act at once

// concurrencyFacts are about calls at the same time.
var concurrencyFacts = []fact{
	{"of creates of one key exactly one wins", func(t *trial) {
		b := t.bucket(5)
		for round := range 20 {
			t.oneCreateWins(b, fmt.Sprint("k", round))
		}
	}},
	{"of creates over one marker exactly one wins", func(t *trial) {
		b := t.bucket(5)
		for round := range 20 {
			key := fmt.Sprint("k", round)
			t.put(b, key, "v")
			if round%2 == 0 {
				t.delete(b, key)
			} else {
				t.purge(b, key)
			}
			t.oneCreateWins(b, key)
		}
	}},
	{"of updates of one revision exactly one wins", func(t *trial) {
		b := t.bucket(5)
		last := t.put(b, "k", "0")
		for range 20 {
			var revs [callers]kv.Revision
			var errs [callers]error
			together(callers, func(i int) {
				revs[i], errs[i] = b.Update(t.ctx, "k", []byte(strconv.Itoa(i)), last)
			})
			winner := t.oneWins(errs[:])
			for i, err := range errs {
				if i != winner {
					t.fails(err, kv.ErrKeyRevisionMismatch)
				}
			}
			t.holds(b, "k", strconv.Itoa(winner))
			last = revs[winner]
			equal(t, "revision", t.get(b, "k").Revision, last)
		}
	}},
	{"of deletes of one revision exactly one wins", func(t *trial) {
		b := t.bucket(5)
		last := t.put(b, "k", "v")
		var errs [callers]error
		together(callers, func(i int) {
			_, errs[i] = b.Delete(t.ctx, "k", kv.LastRevision(last))
		})
		t.oneWins(errs[:])
		equal(t, "number of entries", len(t.history(b, "k")), 2)
	}},
	{"a counter raised by update counts every raise", func(t *trial) {
		b := t.bucket(1)
		t.put(b, "counter", "0")
		const raises = 10 // of each caller
		var errs [callers]error
		together(callers, func(i int) {
			for range raises {
				if errs[i] = raise(t, b, "counter"); errs[i] != nil {
					return
				}
			}
		})
		t.ok(errors.Join(errs[:]...))
		t.holds(b, "counter", strconv.Itoa(callers*raises))
	}},
	{"no two records have one revision", func(t *trial) {
		b := t.bucket(64)
		const each = 20 // writes of each caller
		revs := make([]kv.Revision, callers*each)
		errs := make([]error, callers*each)
		together(callers, func(i int) {
			for n := range each {
				revs[i*each+n], errs[i*each+n] = b.Put(t.ctx, fmt.Sprint("k", n%4), []byte("v"))
			}
		})
		t.ok(errors.Join(errs...))
		for i := range callers {
			equal(t, "that a caller's revisions rise", slices.IsSorted(revs[i*each:(i+1)*each]), true)
		}
		slices.Sort(revs)
		equal(t, "number of different revisions", len(slices.Compact(revs)), callers*each)
		equal(t, "revision of the bucket", t.status(b).Revision, slices.Max(revs))
		for key := range 4 {
			entries := t.history(b, fmt.Sprint("k", key))
			rising := slices.IsSortedFunc(entries, func(x, y kv.Entry) int { return int(x.Revision) - int(y.Revision) })
			equal(t, "that the history rises", rising, true)
		}
	}},
	{"a reader never sees a value go back", func(t *trial) {
		b := t.bucket(1)
		t.put(b, "k", "0")
		var done atomic.Bool
		var errs [4]error
		together(4, func(i int) {
			if i == 0 {
				defer done.Store(true)
				for n := 1; n <= 200 && errs[0] == nil; n++ {
					_, errs[0] = b.Put(t.ctx, "k", []byte(strconv.Itoa(n)))
				}
				return
			}
			for last := 0; !done.Load() && errs[i] == nil; {
				last, errs[i] = risen(t, b, "k", last)
			}
		})
		t.ok(errors.Join(errs[:]...))
	}},
	{"what was acknowledged is read by everybody", func(t *trial) {
		b := t.bucket(1)
		var errs [callers]error
		together(callers, func(i int) {
			key := fmt.Sprint("k", i)
			for n := range 20 {
				rev, err := b.Put(t.ctx, key, []byte(strconv.Itoa(n)))
				if err != nil {
					errs[i] = err
					return
				}
				if e, err := b.Get(t.ctx, key); err != nil || e.Revision != rev {
					errs[i] = fmt.Errorf("get after put at revision %d: %v at revision %d", rev, err, e.Revision)
					return
				}
			}
		})
		t.ok(errors.Join(errs[:]...))
	}},
	{"a listing beside writers has every key that they leave alone, once, in order", func(t *trial) {
		b := t.bucket(1)
		var still []string
		for i := range 50 {
			key := fmt.Sprintf("still.%02d", i)
			t.put(b, key, "v")
			still = append(still, key)
		}
		t.besideWriter(b, func() error {
			keys, err := collect(b.Keys(t.ctx))
			if err != nil {
				return err
			}
			if !slices.IsSorted(keys) {
				return fmt.Errorf("listing is out of order: %q", keys)
			}
			keys = slices.DeleteFunc(keys, func(key string) bool { return kv.Match("moving.*", key) })
			if !slices.Equal(keys, still) {
				return fmt.Errorf("listing is %q, want %q", keys, still)
			}
			return nil
		})
	}},
	{"a listing beside writers is the state of one revision", func(t *trial) {
		b := t.bucket(1)
		t.put(b, "moving.0", "v")
		t.besideWriter(b, func() error {
			keys, err := collect(b.Keys(t.ctx, "moving.*"))
			if err != nil || t.differs(ListingsDrift) {
				return err
			}
			if len(keys) < 1 || len(keys) > 2 {
				return fmt.Errorf("listing is %q, but at every revision there were one or two keys", keys)
			}
			return nil
		})
	}},
}

// oneCreateWins has all callers create key and checks that one did.
func (t *trial) oneCreateWins(b kv.Bucket, key string) {
	t.Helper()
	var revs [callers]kv.Revision
	var errs [callers]error
	together(callers, func(i int) {
		revs[i], errs[i] = b.Create(t.ctx, key, []byte(strconv.Itoa(i)))
	})
	winner := t.oneWins(errs[:])
	for i, err := range errs {
		if i != winner {
			t.mismatch(err, kv.RevisionMismatchError{Bucket: b.Name(), Key: key, Got: revs[winner], Create: true})
		}
	}
	t.holds(b, key, strconv.Itoa(winner))
	equal(t, "revision", t.get(b, key).Revision, revs[winner])
}

// oneWins ends the test unless exactly one error is nil. It returns the index of that
// one.
func (t *trial) oneWins(errs []error) int {
	t.Helper()
	winner := -1
	for i, err := range errs {
		if err != nil {
			continue
		}
		if winner >= 0 {
			t.Fatalf("callers %d and %d both won", winner, i)
		}
		winner = i
	}
	if winner < 0 {
		t.Fatalf("nobody won: %v", errors.Join(errs...))
	}
	return winner
}

// raise adds one to the number under key. It tries again if another caller has changed
// the number meanwhile.
func raise(t *trial, b kv.Bucket, key string) error {
	for {
		e, err := b.Get(t.ctx, key)
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(string(e.Value))
		if err != nil {
			return err
		}
		_, err = b.Update(t.ctx, key, []byte(strconv.Itoa(n+1)), e.Revision)
		if !errors.Is(err, kv.ErrKeyRevisionMismatch) {
			return err
		}
	}
}

// risen reads the number under key, which must not be below last.
func risen(t *trial, b kv.Bucket, key string, last int) (int, error) {
	e, err := b.Get(t.ctx, key)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(string(e.Value))
	if err == nil && n < last {
		err = fmt.Errorf("read %d after %d", n, last)
	}
	return n, err
}

// besideWriter calls look again and again while a writer moves the key moving.0 to
// moving.1, moving.2 and so on. For each move the writer puts the next key before it
// deletes the last. The writer waits while it is a number of moves ahead of the looks;
// otherwise a fast writer would be done before the first look. An error of either ends
// the test.
func (t *trial) besideWriter(b kv.Bucket, look func() error) {
	t.Helper()
	const moves, ahead = 200, 16
	moved := make(chan struct{}, ahead)
	var errs [2]error
	together(2, func(i int) {
		if i == 1 {
			defer close(moved)
			for n := 0; n < moves && errs[1] == nil; n++ {
				errs[1] = t.move(b, n)
				moved <- struct{}{}
			}
			return
		}
		for range moved {
			if errs[0] == nil {
				errs[0] = look()
			}
		}
	})
	t.ok(errors.Join(errs[:]...))
	t.ok(look())
}

// move moves the n-th key to the next one. Seven keys are used in turn.
func (t *trial) move(b kv.Bucket, n int) error {
	if _, err := b.Put(t.ctx, fmt.Sprint("moving.", (n+1)%7), nil); err != nil {
		return err
	}
	_, err := b.Delete(t.ctx, fmt.Sprint("moving.", n%7))
	return err
}
