package main

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"kvd/kv"
)

func (l *lister) keys(ctx context.Context, a *app, b kv.Bucket, patterns []string) error {
	if !l.verbose {
		return l.keyNames(ctx, a, b, patterns)
	}
	entries, err := l.entries(ctx, b, patterns)
	if err != nil {
		return err
	}
	headings := []string{"Key", "Created", "Revision"}
	if l.values {
		headings = append(headings, "Value")
	}
	t := a.newList(fmt.Sprintf("Contents for bucket '%s'", b.Name()), headings...)
	found := false
	var damaged damagedReads
	for e, err := range entries {
		if damaged.skip(a, &e, err) {
			continue
		}
		if err != nil {
			return err
		}
		found = true
		if !l.values {
			e.Value = nil
		}
		switch {
		case a.json:
			j := newEntryJSON(&e)
			if !l.values {
				j.Value = nil
			}
			if err := a.printJSON(j); err != nil {
				return err
			}
		case l.values:
			t.add(a.key(e.Key), t.time(e.Created), e.Revision, t.cell(e.Value))
		default:
			t.add(a.key(e.Key), t.time(e.Created), e.Revision)
		}
	}
	if damaged > 0 && !found {
		return damaged.err(b.Name())
	}
	return errors.Join(a.endList(t, found, "No keys found in bucket"), damaged.err(b.Name()))
}

func (l *lister) keyNames(ctx context.Context, a *app, b kv.Bucket, patterns []string) error {
	names, err := l.keySequence(ctx, b, patterns)
	if err != nil {
		return err
	}
	found := false
	for key, err := range names {
		if err != nil {
			return err
		}
		found = true
		if a.json {
			if err := a.printJSON(struct {
				Bucket string `json:"bucket"`
				Key    string `json:"key"`
			}{b.Name(), key}); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintln(a.out, a.key(key))
	}
	if !found && !a.json {
		fmt.Fprintln(a.err, "No keys found in bucket")
	}
	return nil
}

// entries yields the entries of the keys that the flags and the patterns select.
func (l *lister) entries(ctx context.Context, b kv.Bucket, patterns []string) (iter.Seq2[kv.Entry, error], error) {
	if !l.ranged {
		return b.All(ctx, patterns...), nil
	}
	r, err := readerOf(b)
	if err != nil {
		return nil, err
	}
	o := l.bounds
	o.Patterns, o.KeysOnly = patterns, !l.values
	return r.Range(ctx, o), nil
}

// keySequence yields the keys that the flags and the patterns select.
func (l *lister) keySequence(ctx context.Context, b kv.Bucket, patterns []string) (iter.Seq2[string, error], error) {
	if !l.ranged {
		return b.Keys(ctx, patterns...), nil
	}
	entries, err := l.entries(ctx, b, patterns)
	return func(yield func(string, error) bool) {
		for e, err := range entries {
			if !yield(e.Key, err) {
				return
			}
		}
	}, err
}
