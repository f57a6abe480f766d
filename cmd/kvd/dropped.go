package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvd/kv"
)

// dropped is what an edit of a bucket's configuration removes at once.
type dropped struct {
	revisions uint64 // by a shorter history
	keys      uint64 // whose newest value is older than the new TTL
}

// String says what is removed; empty for nothing.
func (d dropped) String() string {
	var parts []string
	if d.keys > 0 {
		parts = append(parts, counted(d.keys, "key", "keys")+" older than the TTL")
	}
	if d.revisions > 0 {
		parts = append(parts, counted(d.revisions, "older revision", "older revisions"))
	}
	return strings.Join(parts, " and ")
}

// confirmEdit asks for confirmation of an edit that removes records, and says how many.
func (a *app) confirmEdit(c *cobra.Command, f force, b kv.Bucket, from *kv.Status, to *kv.Config) (bool, error) {
	shorter := to.History < from.Config.History
	sooner := to.TTL != 0 && (from.Config.TTL == 0 || to.TTL < from.Config.TTL)
	if bool(f) || !shorter && !sooner {
		return true, nil
	}
	d, err := a.countDropped(c.Context(), b, from, to)
	if err != nil {
		return false, err
	}
	if d == (dropped{}) {
		return true, nil
	}
	return a.confirm(c, f, fmt.Sprintf("Remove %s from bucket %s?", d, b.Name()))
}

// countDropped reads what the bucket has, without values.
func (a *app) countDropped(ctx context.Context, b kv.Bucket, from *kv.Status, to *kv.Config) (d dropped, err error) {
	w, err := b.Watch(kv.WithStale(ctx), nil, kv.IncludeHistory(), kv.MetaOnly())
	if err != nil {
		return d, err
	}
	defer func() { _ = w.Stop() }() // it has served
	kept := make(map[string]int)
	newest := make(map[string]time.Time) // of a value; zero for a marker
	p := a.newProgress(a.newLogger(formatAuto, slog.LevelInfo))
	defer p.clear()
	done := int64(0)
	for u := range w.Updates() {
		if u.Entry == nil {
			break
		}
		if done++; done%1024 == 0 {
			p.show("counting what the edit removes", done, int64(from.Values))
		}
		e := u.Entry
		if kept[e.Key]++; kept[e.Key] > to.History {
			d.revisions++
		}
		newest[e.Key] = time.Time{}
		if !e.Operation.IsMarker() {
			newest[e.Key] = e.Created
		}
	}
	if to.TTL != 0 {
		for _, created := range newest {
			if !created.IsZero() && time.Since(created) >= to.TTL {
				d.keys++
			}
		}
	}
	if err := w.Err(); err != nil && ctx.Err() == nil {
		return d, err
	}
	return d, ctx.Err()
}
