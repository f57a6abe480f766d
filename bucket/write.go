package bucket

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kvd/index"
	"kvd/internal/view"
	"kvd/kv"
	"kvd/kv/msglog"
	"kvd/segment"
)

// Put writes value as the newest of key.
func (b *Bucket) Put(ctx context.Context, key string, value []byte, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.write(ctx, mutation{op: kv.MutatePut, key: key, value: value}, opts)
}

// PutString is Put of a string.
func (b *Bucket) PutString(ctx context.Context, key, value string, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.Put(ctx, key, view.Bytes(value), opts...)
}

// Create is Put if the key is absent.
func (b *Bucket) Create(ctx context.Context, key string, value []byte, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.write(ctx, mutation{op: kv.MutateCreate, key: key, value: value}, opts)
}

// Update is Put if the newest record of key has the revision last.
func (b *Bucket) Update(ctx context.Context, key string, value []byte, last kv.Revision, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.write(ctx, mutation{op: kv.MutateUpdate, key: key, value: value, last: last}, opts)
}

// Delete writes a delete marker.
func (b *Bucket) Delete(ctx context.Context, key string, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.write(ctx, mutation{op: kv.MutateDelete, key: key}, opts)
}

// Purge writes a purge marker, which ends the key's history.
func (b *Bucket) Purge(ctx context.Context, key string, opts ...kv.WriteOption) (kv.Revision, error) {
	return b.write(ctx, mutation{op: kv.MutatePurge, key: key}, opts)
}

// Touch writes the newest value of key again.
func (b *Bucket) Touch(ctx context.Context, key string, opts ...kv.WriteOption) (kv.Revision, error) {
	o, err := kv.ResolveWrite(kv.MutateTouch, opts)
	if err != nil {
		return 0, err
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
		again := mutation{op: kv.MutateUpdate, key: key, value: e.Value, headers: e.Headers, last: e.Revision, ttl: ttl}
		rev, err := b.write(ctx, again, nil)
		if !errors.Is(err, kv.ErrKeyRevisionMismatch) {
			return rev, err
		}
	}
}

// write carries one mutation through the commit path.
func (b *Bucket) write(ctx context.Context, m mutation, opts []kv.WriteOption) (kv.Revision, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if len(opts) > 0 {
		o, err := kv.ResolveWrite(m.op, opts)
		if err != nil {
			return 0, err
		}
		m.ttl = o.TTL
		if o.IfLast {
			m.last, m.ifLast = o.Last, true
		}
	}
	if err := b.prepare(&m); err != nil {
		return 0, err
	}
	r := newRequest()
	r.single[0] = m
	err := b.store.commit.do(ctx, r)
	if err == nil {
		err = r.single[0].err
	}
	rev := r.single[0].revision
	r.free()
	return rev, err
}

// prepare checks what can be checked outside the commit path and fills in what
// it needs: the cheap refusals cost the leader nothing. Values are compressed
// here, by the configuration of this moment, so that writers do it side by side
// and not one after the other under the path.
func (b *Bucket) prepare(m *mutation) error {
	if err := m.checkKey(); err != nil {
		return err
	}
	config, err := b.config()
	if err != nil {
		return err
	}
	if config.Kind == msglog.Kind && m.ttl != 0 {
		return fmt.Errorf("%w: TTL of %q: bucket %q is a message log, in which no record has a TTL of its own", kv.ErrInvalidOption, m.key, b.name)
	}
	if int64(len(m.value)) > config.MaxValueSize {
		return &kv.LimitError{What: fmt.Sprintf("value of %q", m.key), Got: int64(len(m.value)), Max: config.MaxValueSize, Err: kv.ErrValueTooLarge}
	}
	if len(m.headers) > kv.MaxHeadersSize {
		return &kv.LimitError{What: fmt.Sprintf("headers of %q", m.key), Got: int64(len(m.headers)), Max: kv.MaxHeadersSize, Err: kv.ErrValueTooLarge}
	}
	m.given = m.value
	if config.Compression {
		if packed := segment.Compress(m.value); packed != nil {
			m.value, m.rawLen = packed, uint32(len(m.value))
		}
	}
	m.bucket = b
	m.hash = index.Hash(m.key)
	m.size = segment.RecordSize(m.recordKeySize(), len(m.headers), len(m.value), m.ttl != 0, m.rawLen != 0)
	return nil
}

// Submit carries out many mutations in order; see [kv.Submitter].
func (s *Store) Submit(ctx context.Context, mutations []kv.Mutation) error {
	for len(mutations) > 0 {
		n := 0 // a touch needs a read, which needs everything before it to be visible
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
	b, err := s.lookup(m.Bucket)
	if err != nil {
		m.Revision, m.Err = 0, err
		return
	}
	if m.Headers != nil || m.Rollup || m.IfNewest {
		m.Revision, m.Err = 0, fmt.Errorf("%w: %v keeps headers and history, and has no condition", kv.ErrInvalidOption, m.Op)
		return
	}
	if m.TTL < 0 {
		m.Revision, m.Err = 0, &kv.LimitError{What: "TTL", Got: int64(m.TTL), Min: 1, Duration: true, Err: kv.ErrInvalidOption}
		return
	}
	m.Revision, m.Err = b.touch(ctx, m.Key, m.TTL)
}

// submit carries out mutations other than touches as one request.
func (s *Store) submit(ctx context.Context, mutations []kv.Mutation) error {
	r := newRequest()
	defer r.free()
	r.mutations = r.single[:0]
	if len(mutations) > 1 {
		r.mutations = make([]mutation, 0, len(mutations))
	}
	for i := range mutations {
		m := &mutations[i]
		m.Revision = 0
		own, err := s.translate(m)
		if m.Err = err; err == nil {
			r.mutations = append(r.mutations, own)
		}
	}
	if len(r.mutations) == 0 {
		return ctx.Err()
	}
	err := ctx.Err()
	if err == nil {
		err = s.commit.do(ctx, r)
	} else {
		r.cancelled = err
		r.cutOff()
	}
	n := 0 // r.mutations are those without an error, in the same order
	for i := range mutations {
		if m := &mutations[i]; m.Err == nil {
			m.Revision, m.Err = r.mutations[n].revision, r.mutations[n].err
			n++
		}
	}
	return err
}

// translate turns a mutation of the contract into the engine's.
func (s *Store) translate(m *kv.Mutation) (mutation, error) {
	if m.Op < kv.MutatePut || m.Op > msglog.Append || m.Op == kv.MutateTouch {
		return mutation{}, fmt.Errorf("%w: %v", kv.ErrInvalidOption, m.Op)
	}
	b, err := s.lookup(m.Bucket)
	if err != nil {
		return mutation{}, err
	}
	if m.TTL < 0 || m.TTL > 0 && (m.Op == kv.MutateDelete || m.Op == msglog.Append) {
		return mutation{}, &kv.LimitError{What: fmt.Sprintf("TTL of a %v", m.Op), Got: int64(m.TTL), Duration: true, Err: kv.ErrInvalidOption}
	}
	own := mutation{op: m.Op, key: m.Key, last: m.Last, ttl: m.TTL, headers: m.Headers, newest: m.Newest, ifNewest: m.IfNewest}
	if m.Rollup && (m.Op == kv.MutateDelete || m.Op == msglog.Append) {
		return mutation{}, fmt.Errorf("%w: %v keeps the history", kv.ErrInvalidOption, m.Op)
	}
	switch m.Op {
	case kv.MutateDelete, kv.MutatePurge:
		own.ifLast = m.IfLast
	default:
		own.value, own.rollup = m.Value, m.Rollup
	}
	return own, b.prepare(&own)
}
