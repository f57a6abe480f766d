package bucket

import (
	"context"
	"errors"
	"fmt"

	"kvd/bucket/cut"
	"kvd/kv"
	"kvd/wal"
)

// errImportUnknown reports a bucket whose import was under way when a cut was made: a cut has no hidden buckets.
var errImportUnknown = fmt.Errorf("%w: the import of a bucket was under way when the backup was made: restore a later backup", kv.ErrNotSupported)

// Replay is the second step of a restore with frames of the log (package cut): it recovers the store in the
// restore's directory, as after a crash, removes the buckets that are not wanted, and closes it. last is the
// newest frame. No bucket expires or is compacted. A bucket that is wanted and was not there is an error of
// [cut.Restore.Renew]. The error matches kv.ErrCorrupt if the frames do not fit the cut, or kv.ErrNotSupported if
// they commit an import that was under way when the cut was made.
func Replay(ctx context.Context, r *cut.Restore, last wal.LSN, progress func(Progress)) (err error) {
	o := Options{ReserveSize: -1, ImageKeys: -1, Progress: progress, env: r.Env(), replaying: true}
	o.env.Manual = true
	s, err := Open(r.Dir(), o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.report.ReadOnly; err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	if s.path.replayed != last {
		return &kv.CorruptError{File: r.Dir(), Offset: -1, Detail: fmt.Sprintf("the log was replayed up to LSN %d, not %d", s.path.replayed, last)}
	}
	wanted := r.Wanted()
	if wanted == nil {
		return nil
	}
	for _, b := range s.list() {
		if _, ok := wanted[b.name]; ok {
			continue
		}
		if err := s.DeleteBucket(ctx, b.name); err != nil {
			return err
		}
	}
	return nil
}
