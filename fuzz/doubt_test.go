package fuzz

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"kvd/kv"
)

// tellsNoLie checks a store of which some part is in doubt. Each key's answer is an error,
// or that of one of the states from oldest on, the same state for all keys.
func (c *chronicle) tellsNoLie(s kv.Store, oldest int) error {
	var first error
	for i := c.last(); i >= oldest; i-- {
		err := noLie(c.states[i], s)
		if err == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return fmt.Errorf("against the newest state: %w", first)
}

// noLie compares what a store answers for each key with a state.
func noLie(state *Model, s kv.Store) error {
	for name, want := range state.Buckets {
		b, err := s.Bucket(context.Background(), name)
		if errors.Is(err, kv.ErrCorrupt) {
			continue
		}
		if err != nil {
			return fmt.Errorf("bucket %q: %w", name, err)
		}
		for _, key := range keyNames {
			if err := noLieOf(want.Keys[key], b, key); err != nil {
				return err
			}
		}
	}
	return nil
}

// noLieOf compares what a bucket answers for a key with its records.
func noLieOf(want []Record, b kv.Bucket, key string) error {
	e, err := b.Get(context.Background(), key)
	if errors.Is(err, kv.ErrCorrupt) {
		return nil
	}
	n := len(want)
	gone := n == 0 || want[n-1].Operation.IsMarker()
	switch {
	case gone && errors.Is(err, kv.ErrKeyNotFound):
	case gone:
		return fmt.Errorf("%q in bucket %q is at revision %d, and does not exist: %w", key, b.Name(), e.Revision, err)
	case err != nil:
		return err
	case e.Revision != want[n-1].Revision || !bytes.Equal(e.Value, want[n-1].Value):
		return fmt.Errorf("%q in bucket %q is at revision %d, not %d, or has another value", key, b.Name(), e.Revision, want[n-1].Revision)
	}
	return nil
}
