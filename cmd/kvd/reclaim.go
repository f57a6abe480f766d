package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"kvd/kv"
)

func (a *app) reclaimCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "reclaim [BUCKET ...]",
		Short: "Reclaim disk space now",
		Long: `Free the disk space of replaced, deleted and expired records in the named buckets,
or in all buckets. A store does this by itself in the background, at a limited
rate; this verb does it now and shows the progress. Reads and writes go on; what
they make superfluous after the beginning is left to the background.`,
		Example: `  kvd reclaim my-kv
  kvd reclaim --dir ./kvd-data`,
		ValidArgsFunction: a.completeArgs(completeBucket),
		RunE: func(c *cobra.Command, args []string) error {
			return a.withStore(c.Context(), mustExist, func(ctx context.Context, s store) error {
				return a.reclaim(ctx, s, args)
			})
		},
	}
	a.addTarget(c)
	a.addJSON(c)
	return c
}

func (a *app) reclaim(ctx context.Context, s store, buckets []string) error {
	r, ok := kv.As[kv.Reclaimer](s)
	if !ok {
		return fmt.Errorf("reclaim: %w", kv.ErrNotSupported)
	}
	p := a.newProgress(a.newLogger(formatAuto, slog.LevelInfo))
	done, err := r.Reclaim(ctx, func(r kv.Reclaimed) { p.show("reclaiming "+r.Bucket, r.Done, r.Total) }, buckets...)
	p.clear()
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(struct {
			Bytes int64 `json:"bytes"`
			Freed int64 `json:"freed"`
		}{done.Total, done.Freed})
	}
	_, err = fmt.Fprintf(a.out, "%s of %s reclaimed\n", bytesText(uint64(max(0, done.Freed))), bytesText(uint64(done.Total)))
	return err
}
