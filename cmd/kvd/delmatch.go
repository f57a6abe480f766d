package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"kvd/kv"
)

// matchPage is how many keys "kvd del --match" lists and then deletes at once.
const matchPage = 1000

// matcher is the flags of a deletion of the keys that match patterns.
type matcher struct {
	patterns []string
	stale    stale
}

// check returns what is wrong with the command line.
func (m *matcher) check(c *cobra.Command, args []string) error {
	changed := c.Flags().Changed
	switch {
	case !changed("match") && changed("stale"):
		return errors.New("--stale is for --match")
	case changed("match") && len(args) > 1:
		return errors.New("use KEY or --match, not both")
	case changed("match") && changed("revision"):
		return errors.New("--revision takes one KEY")
	}
	return nil
}

// run counts the keys, asks, and deletes them.
func (m *matcher) run(c *cobra.Command, a *app, f force, bucket string) error {
	which := fmt.Sprintf("of bucket %s that match %s", bucket, strings.Join(a.patterns(m.patterns), ", "))
	if !a.inTTY { // nobody is there to ask: the store is not needed
		if ok, err := a.confirm(c, f, fmt.Sprintf("Delete the keys %s?", which)); !ok {
			return err
		}
	}
	return a.withStore(c.Context(), mustExist, func(ctx context.Context, s store) error {
		b, err := s.Bucket(ctx, bucket)
		if err != nil {
			return err
		}
		if ctx, err = a.reader(ctx, b, m.stale); err != nil {
			return err
		}
		d, keys, err := m.begin(ctx, s, b)
		if err != nil {
			return err
		}
		if keys > 0 {
			question := fmt.Sprintf("Delete %s %s?", counted(keys, "key", "keys"), which)
			if ok, err := a.confirm(c, f, question); !ok {
				return err
			}
		}
		if err := d.run(ctx, m.patterns); err != nil {
			return &partError{err, d.deleted}
		}
		return d.print(a)
	})
}

// begin returns the deletion, and how many keys match now.
func (m *matcher) begin(ctx context.Context, s store, b kv.Bucket) (*deletion, uint64, error) {
	r, err := readerOf(b)
	if err != nil {
		return nil, 0, err
	}
	st, err := b.Status(ctx)
	if err != nil {
		return nil, 0, err
	}
	keys, err := r.Count(ctx, m.patterns...)
	return &deletion{store: s, bucket: b.Name(), reader: r, upTo: st.Revision}, keys, err
}

// deletion deletes many keys of a bucket. Keys that are written after it began stay.
type deletion struct {
	store   store
	bucket  string
	reader  kv.Reader
	upTo    kv.Revision // the newest of the bucket when it began
	deleted uint64
}

// run deletes the keys that match, page by page, so that it takes little memory.
func (d *deletion) run(ctx context.Context, patterns []string) error {
	o := kv.RangeOptions{Patterns: patterns, KeysOnly: true, Limit: matchPage}
	for {
		page, last, err := d.page(ctx, o)
		if err != nil {
			return err
		}
		if err := d.delete(ctx, page); err != nil || last == "" {
			return err
		}
		o.After = last
	}
}

// page returns the deletes of a page, and its last key: empty if there is no further page.
func (d *deletion) page(ctx context.Context, o kv.RangeOptions) (page []kv.Mutation, last string, err error) {
	seen := 0
	for e, err := range d.reader.Range(ctx, o) {
		if err != nil {
			return nil, "", err
		}
		seen++
		last = e.Key
		if e.Revision <= d.upTo {
			page = append(page, kv.Mutation{Bucket: d.bucket, Op: kv.MutateDelete, Key: e.Key})
		}
	}
	if seen < o.Limit {
		last = ""
	}
	return page, last, nil
}

// delete carries out the deletes of a page and counts them. The error is the first one.
func (d *deletion) delete(ctx context.Context, page []kv.Mutation) error {
	first := d.store.Submit(ctx, page)
	for i := range page {
		switch m := &page[i]; {
		case m.Err == nil && m.Revision != 0:
			d.deleted++
		case first == nil:
			first = m.Err
		}
	}
	return first
}

// print prints how many keys were deleted.
func (d *deletion) print(a *app) error {
	if a.json {
		return a.printJSON(struct {
			Bucket  string `json:"bucket"`
			Deleted uint64 `json:"deleted"` // keys
		}{d.bucket, d.deleted})
	}
	fmt.Fprintf(a.out, "%s deleted from bucket %s\n", counted(d.deleted, "key", "keys"), d.bucket)
	return nil
}

// partError is the error of a deletion of many keys, some of which may be deleted.
type partError struct {
	err     error
	deleted uint64
}

func (e *partError) Error() string {
	return fmt.Sprintf("%v; %s deleted before", e.err, counted(e.deleted, "key was", "keys were"))
}

func (e *partError) Unwrap() error { return e.err }
