package fuzz

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"kvd/kv"
	"kvd/segment"
)

// Loss is a record that a store could not return, and the store's error.
type Loss struct {
	Bucket   string
	Key      string
	Revision kv.Revision
	Err      error
}

// Observe reads a whole store through its interface into a Model, whose Clock remains 0.
// keys must name every key that may have records and is not listed. A listing does not
// show a key whose newest record is a marker. If keys is not complete, the counts do not
// match.
//
// Every record is read in three ways, and listings and counts are compared with the
// records. An error means that the store contradicts itself, or that a bucket could not
// be read at all. Records that the store could not return are the losses; they have an
// Err in the Model.
func Observe(s kv.Store, keys []string) (*Model, []Loss, error) {
	o := observer{store: s, model: NewModel()}
	for name, err := range s.BucketNames(context.Background()) {
		if err != nil {
			return nil, nil, fmt.Errorf("names of buckets: %w", err)
		}
		if err := o.bucket(name, keys); err != nil {
			return nil, nil, fmt.Errorf("bucket %q: %w", name, err)
		}
	}
	return o.model, o.losses, nil
}

type observer struct {
	store  kv.Store
	model  *Model
	losses []Loss
}

func (o *observer) bucket(name string, keys []string) error {
	ctx := context.Background()
	b, err := o.store.Bucket(ctx, name)
	if err != nil {
		return err
	}
	status, err := b.Status(ctx)
	if err != nil {
		return err
	}
	m := &Bucket{
		Config: status.Config, ID: status.ID, Created: status.Created.UnixNano(),
		Revision: status.Revision, Keys: make(map[string][]Record),
	}
	o.model.Buckets[name] = m
	listed, err := keysOf(b)
	if err != nil {
		return err
	}
	for _, key := range distinct(keys, listed) {
		records, err := o.history(b, key)
		if err == nil && len(records) > 0 {
			m.Keys[key] = records
			err = checkReads(b, key, records)
		}
		if err != nil {
			return fmt.Errorf("key %q: %w", key, err)
		}
	}
	return m.checkCounts(listed, status)
}

// keysOf lists the keys of a bucket.
func keysOf(b kv.Bucket) (listed []string, err error) {
	for key, err := range b.Keys(context.Background()) {
		if err != nil {
			return nil, fmt.Errorf("keys: %w", err)
		}
		listed = append(listed, key)
	}
	return listed, nil
}

// distinct returns the union of the lists, without duplicates.
func distinct(lists ...[]string) []string {
	all := slices.Concat(lists...)
	slices.Sort(all)
	return slices.Compact(all)
}

// history reads the records of one key and checks their order.
func (o *observer) history(b kv.Bucket, key string) ([]Record, error) {
	var records []Record
	var deltas []uint64
	for e, err := range b.History(context.Background(), key) {
		if errors.Is(err, kv.ErrKeyNotFound) {
			break
		}
		r := Record{Revision: e.Revision, Created: e.Created.UnixNano(), Operation: e.Operation, Reason: e.Reason, Value: e.Value, Stored: len(e.Value), Err: err}
		if !e.Deadline.IsZero() {
			r.Deadline = e.Deadline.UnixNano()
		}
		if err != nil {
			o.losses = append(o.losses, Loss{b.Name(), key, e.Revision, err})
		}
		if n := len(records); n > 0 && (records[n-1].Revision >= r.Revision || records[n-1].Created > r.Created) {
			return nil, fmt.Errorf("%v follows %v", r, records[n-1])
		}
		if err == nil && (e.Bucket != b.Name() || e.Key != key || e.Operation.IsMarker() && (len(e.Value) > 0 || e.Reason == kv.ReasonNone)) {
			return nil, fmt.Errorf("history has %+v", e)
		}
		records, deltas = append(records, r), append(deltas, e.Delta)
	}
	for i, d := range deltas {
		if d != uint64(len(deltas)-1-i) {
			return nil, fmt.Errorf("delta %d of entry %d of %d", d, i, len(deltas))
		}
	}
	return records, nil
}

// checkReads compares Get and GetRevision with the history.
func checkReads(b kv.Bucket, key string, records []Record) error {
	e, err := b.Get(context.Background(), key)
	if err := records[len(records)-1].check(e, err); err != nil {
		return fmt.Errorf("get: %w", err)
	}
	for _, r := range records {
		e, err := b.GetRevision(context.Background(), key, r.Revision)
		if err := r.check(e, err); err != nil {
			return fmt.Errorf("get revision %d: %w", r.Revision, err)
		}
	}
	return nil
}

// check compares the record with the result of another read.
func (r Record) check(e kv.Entry, err error) error {
	switch {
	case r.Operation != kv.Put:
		if !errors.Is(err, kv.ErrKeyNotFound) {
			return fmt.Errorf("got revision %d and error %v, want none: %v", e.Revision, err, r)
		}
	case err == nil && r.Err == nil:
		if e.Revision != r.Revision || e.Created.UnixNano() != r.Created || !bytes.Equal(e.Value, r.Value) {
			return fmt.Errorf("got revision %d, %d bytes, created %d; the history has %v", e.Revision, len(e.Value), e.Created.UnixNano(), r)
		}
	case fromDisk(r.Err) || fromDisk(err): // another read may succeed
	case errors.Is(r.Err, kv.ErrCorrupt) != errors.Is(err, kv.ErrCorrupt):
		return fmt.Errorf("got error %v; the history has %v, error %v", err, r, r.Err)
	}
	return nil
}

// fromDisk reports whether the system refused to read. Damaged bytes are another error.
func fromDisk(err error) bool {
	var corrupt *kv.CorruptError
	return errors.As(err, &corrupt) && corrupt.Err != nil
}

// checkCounts compares the bucket's listing and status with its records.
func (b *Bucket) checkCounts(listed []string, status kv.Status) error {
	live := b.Live()
	if !slices.Equal(listed, live) {
		return fmt.Errorf("keys lists %q, histories have %q", listed, live)
	}
	records := 0
	for _, r := range b.Keys {
		records += len(r)
	}
	if status.Keys < uint64(len(live)) || status.Values < uint64(records) || status.Keys > status.Values {
		return fmt.Errorf("status counts %d keys and %d records, there are %d and %d", status.Keys, status.Values, len(live), records)
	}
	if b.Hidden = status.Values - uint64(records); b.Hidden > 0 {
		return nil // expired records count until they are swept
	}
	if status.Keys != uint64(len(live)) {
		return fmt.Errorf("status counts %d keys, there are %d", status.Keys, len(live))
	}
	if most, least := uint64(b.Bytes()+b.namesOfFiles()), uint64(b.compressed().Bytes()); (status.Bytes > most || status.Bytes < least) && !b.lossy() {
		return fmt.Errorf("status counts %d bytes, there are %d, or %d if all is compressed", status.Bytes, most, least)
	}
	return nil
}

// namesOfFiles returns how many bytes more the records take, at most, if files of their own have
// their large values: 16 each, and what becomes of two alignments.
func (b *Bucket) namesOfFiles() (n int64) {
	for _, records := range b.Keys {
		for _, r := range records {
			if r.Stored >= segment.ValueFileMin {
				n += 24
			}
		}
	}
	return n
}

// compressed returns the bucket as if every value had been compressed: a value does not
// show whether it was.
func (b *Bucket) compressed() *Bucket {
	c := &Bucket{Keys: make(map[string][]Record)}
	for key, records := range b.Keys {
		for _, r := range records {
			r.Stored = storedSize(r.Value, true)
			c.Keys[key] = append(c.Keys[key], r)
		}
	}
	return c
}

// lossy reports whether the length of a value is unknown.
func (b *Bucket) lossy() bool {
	for _, records := range b.Keys {
		if slices.ContainsFunc(records, func(r Record) bool { return r.Err != nil }) {
			return true
		}
	}
	return false
}
