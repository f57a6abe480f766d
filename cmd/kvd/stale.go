package main

import (
	"context"
	"fmt"
	"math"

	"github.com/spf13/cobra"

	"kvd/kv"
)

// stale is the flag --stale of verbs that read.
type stale bool

func (f *stale) addFlag(c *cobra.Command) {
	c.Flags().BoolVar((*bool)(f), "stale", false, "also read what damage has put in doubt: values may be old, keys missing or deleted")
}

// reader returns the context for reads of a bucket. If the flag is set and the bucket is in
// doubt, a warning goes to standard error.
func (a *app) reader(ctx context.Context, b kv.Bucket, f stale) (context.Context, error) {
	if !f {
		return ctx, nil
	}
	st, err := b.Status(ctx)
	if err != nil {
		return nil, err
	}
	if st.Doubt != 0 {
		fmt.Fprintf(a.err, "kvd: warning: bucket %q is in doubt%s: values may be old, keys missing or deleted (\"kvd lost %s\" lists what is missing)\n",
			b.Name(), upTo(st.Doubt), b.Name())
	}
	return kv.WithStale(ctx), nil
}

// upTo says up to which revision a bucket is in doubt.
func upTo(bound kv.Revision) string {
	if bound == math.MaxUint64 {
		return " as a whole"
	}
	return fmt.Sprintf(" up to revision %d", bound)
}

// damagedReads counts the entries of a listing that cannot be read. The listing goes on
// behind them.
type damagedReads int

// skip reports whether err is that of one damaged entry, and prints it.
func (n *damagedReads) skip(a *app, e *kv.Entry, err error) bool {
	if !isDamaged(e, err) {
		return false
	}
	*n++
	fmt.Fprintf(a.err, "kvd: %v\n", err)
	return true
}

// err returns nil if there were none.
func (n damagedReads) err(bucket string) error {
	if n == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s of bucket %q cannot be read, all others were listed", errDamaged, counted(uint64(n), "entry", "entries"), bucket)
}
