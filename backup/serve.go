package backup

import (
	"context"
	"crypto/sha256"
	"hash"
	"io"

	"kvd/bucket"
	"kvd/bucket/cut"
	"kvd/kv"
)

// Of returns a store with [kv.Backuper]: it writes archives of source, the store underneath. taken is
// called after each that is whole; nil: it is not.
func Of(s kv.Store, source Source, taken func(cut.Report)) kv.Store {
	if taken == nil {
		taken = func(cut.Report) {}
	}
	return &backed{Store: s, source: source, taken: taken}
}

type backed struct {
	kv.Store
	source Source
	taken  func(cut.Report)
}

// Unwrap returns the store without backups.
func (b *backed) Unwrap() kv.Store { return b.Store }

func (b *backed) WriteBackup(ctx context.Context, w io.Writer, o kv.BackupOptions) (kv.BackupTaken, error) {
	counted := &summed{w: w, sum: sha256.New()}
	report, err := Write(ctx, counted, b.source, bucket.BackupOptions{Buckets: o.Buckets, Rate: o.Rate})
	if err != nil {
		return kv.BackupTaken{}, err
	}
	b.taken(report)
	t := kv.BackupTaken{LSN: uint64(report.Content.LSN), Size: counted.size, Damage: report.Damage}
	counted.sum.Sum(t.SHA256[:0])
	return t, nil
}

// summed counts and hashes what is written through it.
type summed struct {
	w    io.Writer
	sum  hash.Hash
	size int64
}

func (s *summed) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.size += int64(n)
	_, _ = s.sum.Write(p[:n]) // never fails
	return n, err
}
