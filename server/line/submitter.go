package line

import (
	"context"
	"fmt"

	"kvd/kv"
)

// singleSubmitter is the Submit of a store that has none: it carries out each
// mutation through its bucket.
type singleSubmitter struct{ store kv.Store }

// submitterOf returns the store's own Submit where it has one.
func submitterOf(store kv.Store) kv.Submitter {
	if s, ok := kv.As[kv.Submitter](store); ok {
		return s
	}
	return singleSubmitter{store}
}

// Submit implements kv.Submitter.
func (s singleSubmitter) Submit(ctx context.Context, mutations []kv.Mutation) error {
	for i := range mutations {
		m := &mutations[i]
		b, err := s.store.Bucket(ctx, m.Bucket)
		if err != nil {
			m.Revision, m.Err = 0, err
			continue
		}
		m.Revision, m.Err = submitSingle(ctx, b, m)
	}
	return ctx.Err()
}

// submitSingle calls the bucket's method for one mutation.
func submitSingle(ctx context.Context, b kv.Bucket, m *kv.Mutation) (kv.Revision, error) {
	var opts []kv.WriteOption
	switch {
	case m.TTL != 0 && m.Op == kv.MutatePurge:
		opts = append(opts, kv.PurgeTTL(m.TTL))
	case m.TTL != 0:
		opts = append(opts, kv.KeyTTL(m.TTL))
	}
	if m.IfLast && (m.Op == kv.MutateDelete || m.Op == kv.MutatePurge) {
		opts = append(opts, kv.LastRevision(m.Last))
	}
	switch m.Op {
	case kv.MutatePut:
		return b.Put(ctx, m.Key, m.Value, opts...)
	case kv.MutateCreate:
		return b.Create(ctx, m.Key, m.Value, opts...)
	case kv.MutateUpdate:
		return b.Update(ctx, m.Key, m.Value, m.Last, opts...)
	case kv.MutateTouch:
		return b.Touch(ctx, m.Key, opts...)
	case kv.MutateDelete:
		return b.Delete(ctx, m.Key, opts...)
	case kv.MutatePurge:
		return b.Purge(ctx, m.Key, opts...)
	}
	return 0, fmt.Errorf("%w: %v", kv.ErrInvalidOption, m.Op)
}
