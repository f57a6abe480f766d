package admin

import (
	"context"
	"fmt"

	"kvd/kv"
)

// FirstFault returns what is wrong with the first such bucket of the store, or nil if all
// are sound: it refuses writes, is in doubt, or has records whose values are lost. It can
// be the Health of Options.
func FirstFault(ctx context.Context, s kv.Store) error {
	for st, err := range s.Buckets(ctx) {
		if err != nil {
			return err
		}
		name := st.Config.Bucket
		if st.ReadOnly != nil {
			return fmt.Errorf("bucket %q: %w", name, st.ReadOnly)
		}
		if st.Doubt != 0 {
			return inDoubt(&st)
		}
		d, err := doubtOf(ctx, s, name)
		if err != nil {
			return err
		}
		if len(d.Lost) > 0 {
			return fmt.Errorf("bucket %q: %w: values are lost (kvd lost %s)", name, kv.ErrCorrupt, name)
		}
	}
	return nil
}

// FirstInDoubt returns which bucket of the store is the first that is in doubt and not
// served stale, or nil. It can be the Ready of Options.
func FirstInDoubt(ctx context.Context, s kv.Store) error {
	for st, err := range s.Buckets(ctx) {
		if err != nil {
			return err
		}
		if st.Doubt != 0 && !st.Stale {
			return inDoubt(&st)
		}
	}
	return nil
}

// inDoubt returns the error of a bucket in doubt.
func inDoubt(st *kv.Status) error {
	name, stale := st.Config.Bucket, ""
	if st.Stale {
		stale = ", and it is served stale"
	}
	return fmt.Errorf("bucket %q: %w: records may be missing%s (kvd lost %s)", name, kv.ErrCorrupt, stale, name)
}

// doubtOf returns what a bucket lost. A bucket that was deleted meanwhile, or that does not
// tell, lost nothing.
func doubtOf(ctx context.Context, s kv.Store, name string) (kv.Doubt, error) {
	b, err := s.Bucket(ctx, name)
	if err != nil {
		return kv.Doubt{}, ctx.Err()
	}
	d, ok := kv.As[kv.Doubtful](b)
	if !ok {
		return kv.Doubt{}, nil
	}
	doubt, err := d.Doubt(ctx)
	if err != nil {
		return kv.Doubt{}, ctx.Err()
	}
	return doubt, nil
}
