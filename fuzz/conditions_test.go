package fuzz

import (
	"context"
	"errors"
	"fmt"

	"kvd/bucket"
	"kvd/kv"
)

// head is the newest record of a key, according to what was acknowledged. The zero head is
// that of a key without any record.
type head struct {
	revision, before kv.Revision // before: that of the record which it replaced, 0 if there was none
	live             bool        // it is a value
}

// condition is a conditional write and its right outcome.
type condition struct {
	mutation kv.Mutation
	want     error // nil: it is written
}

func (c *condition) question() question {
	return question{bucket: c.mutation.Bucket, kind: c.mutation.Op.String(), key: c.mutation.Key}
}

// conditions returns conditional writes of a key with that head: each kind of condition
// once where it holds, and where it does not. They follow one another, so at most two are
// written.
func conditions(name, key string, h head) []condition {
	write := func(op kv.MutationOp, last kv.Revision, want error) condition {
		m := kv.Mutation{Bucket: name, Op: op, Key: key, Last: last}
		if op == kv.MutateDelete || op == kv.MutatePurge {
			m.IfLast = true
		} else {
			m.Value = []byte("by condition")
		}
		return condition{m, want}
	}
	mismatch := kv.ErrKeyRevisionMismatch
	stale := h.before
	if stale == h.revision { // both are 0
		stale = 1
	}
	list := []condition{
		write(kv.MutateUpdate, stale, mismatch),
		write(kv.MutateUpdate, h.revision+1, mismatch),
		write(kv.MutateDelete, stale, mismatch),
		write(kv.MutatePurge, stale, mismatch),
	}
	if h.live {
		list = append(list, write(kv.MutateCreate, 0, kv.ErrKeyExists), write(kv.MutateUpdate, h.revision, nil))
	} else {
		list = append(list, write(kv.MutateCreate, 0, nil))
	}
	return append(list, write(kv.MutateUpdate, h.revision, mismatch), write(kv.MutateCreate, 0, kv.ErrKeyExists))
}

// compareAndSet carries conditional writes of all keys out, and reads what they wrote. It
// returns the outcomes that are neither right nor a refusal, and the writes that were
// refused.
func (m *matrixStore) compareAndSet(s *bucket.Store) (lies []string, refused []question) {
	var list []condition
	for at, h := range m.heads {
		list = append(list, conditions(at.bucket, at.key, h)...)
	}
	batch := make([]kv.Mutation, len(list))
	for i := range list {
		batch[i] = list[i].mutation
	}
	err := s.Submit(context.Background(), batch)
	for i := range list {
		c, got := &list[i], batch[i].Err
		if got == nil && err != nil {
			got = err
		}
		switch {
		case got != nil && (errors.Is(got, kv.ErrCorrupt) || errors.Is(got, kv.ErrReadOnly)):
			refused = append(refused, c.question())
		case got == nil && c.want == nil:
			if err := readBack(s, &batch[i], m.heads[keyOf{batch[i].Bucket, batch[i].Key}]); err != nil {
				lies = append(lies, fmt.Sprintf("%v: %v", c.question(), err))
			}
		case got == nil || c.want == nil || !errors.Is(got, c.want):
			lies = append(lies, fmt.Sprintf("%v if at %d: %v, not %v", c.question(), c.mutation.Last, got, c.want))
		}
	}
	return lies, refused
}

// readBack compares what a key has with the mutation that was written last.
func readBack(s *bucket.Store, w *kv.Mutation, before head) error {
	b, err := s.Bucket(context.Background(), w.Bucket)
	if err != nil {
		return err
	}
	e, err := b.Get(context.Background(), w.Key)
	if err == nil && (e.Revision != w.Revision || string(e.Value) != string(w.Value) || e.Revision <= before.revision) {
		err = fmt.Errorf("written with revision %d above %d, read %.20q with revision %d", w.Revision, before.revision, e.Value, e.Revision)
	}
	return err
}
