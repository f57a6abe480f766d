package bucket

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kvd/internal/view"
	"kvd/kv"
)

// Put writes value as the newest of key.
func (b *Bucket) Put(ctx context.Context, key string, value []byte, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.write(ctx, kv.Mutation{Op: kv.MutatePut, Key: key, Value: value}, opts)
}

// PutString is Put of a string.
func (b *Bucket) PutString(ctx context.Context, key, value string, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.Put(ctx, key, view.Bytes(value), opts...)
}

// Create is Put if the key is absent.
func (b *Bucket) Create(ctx context.Context, key string, value []byte, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.write(ctx, kv.Mutation{Op: kv.MutateCreate, Key: key, Value: value}, opts)
}

// Update is Put if the newest record of key has the revision last.
func (b *Bucket) Update(ctx context.Context, key string, value []byte, last kv.Revision, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.write(ctx, kv.Mutation{Op: kv.MutateUpdate, Key: key, Value: value, Last: last}, opts)
}

// Delete writes a delete marker.
func (b *Bucket) Delete(ctx context.Context, key string, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.write(ctx, kv.Mutation{Op: kv.MutateDelete, Key: key}, opts)
}

// Purge writes a purge marker, which ends the key's history.
func (b *Bucket) Purge(ctx context.Context, key string, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.write(ctx, kv.Mutation{Op: kv.MutatePurge, Key: key}, opts)
}

// Touch writes the newest value of key again.
func (b *Bucket) Touch(ctx context.Context, key string, opts ...kv.WriteOption) (kv.Revision, error) {
	o, err := kv.ResolveWrite(kv.MutateTouch, opts)
	if err != nil {
		return 0, kv.NameKey(b.name, key, err)
	}
	return b.touch(ctx, key, o.TTL)
}

// touch writes the newest value of key again, with that TTL. The value is read
// outside the commit path, so a page fault stalls no other writer. If another write
// of the key comes between the read and the write, touch starts over.
func (b *Bucket) touch(ctx context.Context, key string, ttl time.Duration) (kv.Revision, error) {
	for {
		e, err := b.Get(ctx, key)
		if err != nil {
			return 0, err
		}
		again := kv.Mutation{Op: kv.MutateUpdate, Key: key, Value: e.Value, Headers: e.Headers, Last: e.Revision, TTL: ttl}
		rev, err := b.write(ctx, again, nil)
		if !errors.Is(err, kv.ErrKeyRevisionMismatch) {
			return rev, err
		}
	}
}

// write carries one mutation through the commit path. It ignores m.Bucket.
func (b *Bucket) write(ctx context.Context, m kv.Mutation, opts []kv.WriteOption) (kv.Revision, error) {
	revision, err := b.commit(ctx, &m, opts)
	if err != nil {
		return revision, kv.NameKey(b.name, m.Key, err)
	}
	return revision, nil
}

func (b *Bucket) commit(ctx context.Context, m *kv.Mutation, opts []kv.WriteOption) (kv.Revision, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err := m.Apply(opts); err != nil {
		return 0, err
	}
	c := &b.store.commit
	r := c.newRequest()
	defer c.free(r)
	own := &r.single[0]
	if err := b.translate(m, own); err != nil {
		return 0, err
	}
	if own.large {
		if err := b.store.writeValue(ctx, own); err != nil {
			return 0, err
		}
	}
	err := b.store.carryOut(ctx, r)
	if err == nil {
		err = own.err
	}
	return own.revision, err
}

// writeValue writes the large value of a mutation to a file, unless the mutation's condition
// fails already.
func (s *Store) writeValue(ctx context.Context, m *mutation) error {
	if err := m.refusal(); err != nil {
		return err
	}
	return s.values.write(ctx, m)
}

// carryOut carries a request through the commit path, and removes the files of large values that
// were not written.
func (s *Store) carryOut(ctx context.Context, r *request) error {
	err := s.commit.do(ctx, r)
	s.values.removeRefused(r.mutations, err)
	return err
}

// Submit carries out many mutations in order; see [kv.Submitter].
func (s *Store) Submit(ctx context.Context, mutations []kv.Mutation) error {
	for len(mutations) > 0 {
		n := 0 // a touch reads its key, and that read must see all mutations before it
		for n < len(mutations) && mutations[n].Op != kv.MutateTouch {
			n++
		}
		if err := s.submit(ctx, mutations[:n]); err != nil {
			for i := n; i < len(mutations); i++ {
				mutations[i].Revision, mutations[i].Err = 0, err
			}
			return err
		}
		if n < len(mutations) {
			s.submitTouch(ctx, &mutations[n])
			n++
		}
		mutations = mutations[n:]
	}
	return ctx.Err()
}

func (s *Store) submitTouch(ctx context.Context, m *kv.Mutation) {
	m.Revision = 0
	b, err := s.lookup(m.Bucket)
	switch {
	case err != nil:
	case m.Headers != nil || m.Rollup || m.IfNewest:
		err = fmt.Errorf("%w: %v keeps headers and history, and has no condition", kv.ErrInvalidOption, m.Op)
	case m.TTL < 0:
		err = &kv.LimitError{What: "TTL", Got: int64(m.TTL), Min: 1, Duration: true, Err: kv.ErrInvalidOption}
	default:
		m.Revision, err = b.touch(ctx, m.Key, m.TTL)
	}
	m.Err = kv.NameKey(m.Bucket, m.Key, err)
}

// translate is [Bucket.translate] for the bucket that m names.
func (s *Store) translate(m *kv.Mutation, own *mutation) error {
	b, err := s.lookup(m.Bucket)
	if err != nil {
		return err
	}
	return b.translate(m, own)
}

// submit carries out mutations other than touches as one request.
func (s *Store) submit(ctx context.Context, mutations []kv.Mutation) error {
	r := s.commit.newRequest()
	defer s.commit.free(r)
	r.mutations = r.single[:0]
	if len(mutations) > 1 {
		r.mutations = make([]mutation, 0, len(mutations))
	}
	for i := range mutations {
		m := &mutations[i]
		m.Revision, m.Err = 0, nil
		r.mutations = append(r.mutations, mutation{})
		own := &r.mutations[len(r.mutations)-1]
		err := s.translate(m, own)
		if err == nil && own.large {
			err = s.values.write(ctx, own)
		}
		if err != nil {
			m.Err = kv.NameKey(m.Bucket, m.Key, err)
			r.mutations = r.mutations[:len(r.mutations)-1]
		}
	}
	if len(r.mutations) == 0 {
		return ctx.Err()
	}
	err := ctx.Err()
	if err == nil {
		err = s.carryOut(ctx, r)
	} else {
		r.cancelled = err
		r.cutOff()
		s.values.removeRefused(r.mutations, err)
	}
	n := 0 // r.mutations has the mutations without an error, in the same order
	for i := range mutations {
		if m := &mutations[i]; m.Err == nil {
			m.Revision, m.Err = r.mutations[n].revision, kv.NameKey(m.Bucket, m.Key, r.mutations[n].err)
			n++
		}
	}
	return err
}
