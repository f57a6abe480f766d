package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"

	"kvd/backup"
	"kvd/bucket"
	"kvd/bucket/cut"
	"kvd/kv"
	"kvd/kv/digest"
)

// restoreIntoServer restores buckets of a backup into a running server. It makes a store of them in a
// scratch directory, since the backup's log may have to be replayed, and sends what that store keeps.
func (a *app) restoreIntoServer(ctx context.Context, name string, r *restoration, o backup.RestoreOptions) error {
	return a.withStore(ctx, mustExist, func(ctx context.Context, s store) (err error) {
		importer, ok := kv.As[kv.BucketImporter](s)
		if !ok {
			return fmt.Errorf("%w: imports", kv.ErrNotSupported)
		}
		if err := checkFree(ctx, s, o.Buckets); err != nil {
			return err
		}
		dir := ""
		if !o.DryRun {
			if dir, err = os.MkdirTemp(r.scratch, "kvd-restore-"); err != nil {
				return err
			}
			defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		}
		done, err := a.makeStore(ctx, name, r, dir, o)
		if err != nil {
			return err
		}
		if o.DryRun {
			fmt.Fprintln(a.err, "Nothing was written (--dry-run).")
		} else if err := a.sendBuckets(ctx, importer, dir, done.Buckets); err != nil {
			return err
		}
		return errors.Join(a.printRestored(name, &done), a.sourceDamaged(done.Damage, done.Damages))
	})
}

// checkFree returns an error if a bucket has one of the new names. The commit of an import checks it
// again; here it is for an answer before the work.
func checkFree(ctx context.Context, s kv.Store, names map[string]string) error {
	for from, to := range names {
		switch _, err := s.Bucket(ctx, to); {
		case err == nil:
			return &hintedError{fmt.Errorf("%w: %q (\"--bucket %s=NAME\" restores it under another name)", kv.ErrBucketExists, to, from)}
		case !errors.Is(err, kv.ErrBucketNotFound):
			return err
		}
	}
	return nil
}

// sendBuckets opens the store in a directory, and sends its buckets.
func (a *app) sendBuckets(ctx context.Context, to kv.BucketImporter, dir string, buckets []cut.Restored) (err error) {
	s, err := bucket.Open(dir, bucket.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	p := a.newProgress(a.newLogger(formatAuto, slog.LevelInfo))
	defer p.clear()
	for n := range buckets {
		b, err := s.Bucket(ctx, buckets[n].To)
		if err != nil {
			return err
		}
		send := bucketSender{progress: p, from: b.(*bucket.Bucket), next: buckets[n].Next}
		if err := send.run(ctx, to); err != nil {
			return fmt.Errorf("%w (%d of %s were restored before)", err, n, counted(uint64(len(buckets)), "bucket", "buckets"))
		}
	}
	return nil
}

// bucketSender sends one bucket to a server.
type bucketSender struct {
	progress *progress
	from     *bucket.Bucket
	next     kv.Revision // of the first write once it is restored: above all records of the backup

	importer kv.Importer
	batch    []kv.Entry
	size     int // of the batch, bytes
	sent     uint64
	sum      kv.Digest
}

// The bounds of a batch; a larger record is sent alone.
const (
	sendRecords = 1024
	sendBytes   = 1 << 20
)

// wayOutOfDamage is for a bucket that is damaged in the backup: an import would not keep its doubt.
const wayOutOfDamage = "restore the backup with --dir, and use \"kvd repair\""

// run sends all records. After an error the server has no part of the bucket.
func (s *bucketSender) run(ctx context.Context, to kv.BucketImporter) error {
	doubt, err := s.from.Doubt(ctx)
	if err != nil {
		return err
	}
	if doubt.Bound > 0 || doubt.Unknown || len(doubt.Lost) > 0 {
		return &hintedError{fmt.Errorf("bucket %q: %w: the store was damaged when the backup was made (%s)", s.from.Name(), errDamaged, wayOutOfDamage)}
	}
	status, err := s.from.Status(ctx)
	if err != nil {
		return err
	}
	if s.importer, err = to.ImportBucket(ctx, status.Config, s.next); err != nil {
		return err
	}
	err = s.from.Records(ctx, func(k *bucket.Kept) error { return s.record(ctx, k) })
	if err == nil {
		err = s.flush(ctx)
	}
	if err == nil {
		err = s.importer.Commit(ctx, s.sum)
	}
	if err != nil {
		_ = s.importer.Discard(context.WithoutCancel(ctx)) // the first error is the cause; the end of the connection discards too
	}
	return err
}

// record takes a record. It leaves out the markers of what has expired since the store was made: they
// are from its sweep and not of the backup, and the server writes its own.
func (s *bucketSender) record(ctx context.Context, k *bucket.Kept) error {
	if k.Damage != nil {
		return &hintedError{fmt.Errorf("%w (%s)", k.Damage, wayOutOfDamage)}
	}
	if k.Revision >= s.next {
		return nil
	}
	e := k.Entry
	e.Value, e.Headers = slices.Clone(e.Value), slices.Clone(e.Headers)
	s.batch, s.size = append(s.batch, e), s.size+len(e.Key)+len(e.Value)+len(e.Headers)
	s.sum = s.sum.Add(digest.OfEntry(&e))
	if len(s.batch) < sendRecords && s.size < sendBytes {
		return nil
	}
	return s.flush(ctx)
}

// flush sends the batch.
func (s *bucketSender) flush(ctx context.Context) error {
	if len(s.batch) == 0 {
		return nil
	}
	if err := s.importer.Write(ctx, s.batch); err != nil {
		return err
	}
	s.sent += uint64(len(s.batch))
	clear(s.batch) // the values
	s.batch, s.size = s.batch[:0], 0
	s.progress.showRecords("restore", s.sent, 0)
	return nil
}
