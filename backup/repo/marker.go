package repo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kvd/backup/blob"
	"kvd/wal"
)

const (
	// markerAge is how long a marker counts.
	markerAge = time.Hour
	// markerRenewal is how old a marker is when a restore puts another one.
	markerRenewal = markerAge / 2
)

// markerJSON is an object under restoring/ or pruning/.
type markerJSON struct {
	Format int    `json:"format"`
	Epoch  uint64 `json:"epoch,omitempty"`
	LSN    uint64 `json:"lsn,omitempty"`
}

// mark puts a marker, and returns what the place knows of it.
func (r *Repository) mark(ctx context.Context, dir string, j markerJSON) (blob.Info, error) {
	j.Format = format
	name := dir + random() + ".json"
	if err := put(ctx, r.place, name, j); err != nil {
		return blob.Info{}, err
	}
	return r.place.Stat(ctx, name)
}

// unmark removes a marker. If that fails, it ends by its age.
func (r *Repository) unmark(ctx context.Context, name string) {
	ctx, cancel := lastCall(ctx)
	defer cancel()
	_ = r.place.Delete(ctx, name)
}

// checkPruning returns ErrBusy while objects are being removed; now is by the clock of the place.
func (r *Repository) checkPruning(ctx context.Context, now time.Time) error {
	infos, err := r.place.List(ctx, pruningDir)
	if err != nil {
		return err
	}
	for _, info := range infos {
		if now.Sub(info.Modified) < markerAge {
			return fmt.Errorf("%w: another process removes old backups from %s: try again later", ErrBusy, r)
		}
	}
	return nil
}

// restoring returns the bases that restores read at the moment; now is by the clock of the place. A marker
// that cannot be read is an error: it may protect any base. The error matches ErrBusy for one that is removed
// meanwhile.
func (r *Repository) restoring(ctx context.Context, now time.Time) (map[baseID]bool, error) {
	infos, err := r.place.List(ctx, restoringDir)
	if err != nil {
		return nil, err
	}
	ids := make(map[baseID]bool)
	for _, info := range infos {
		if now.Sub(info.Modified) >= markerAge {
			r.unmark(ctx, info.Name)
			continue
		}
		var j markerJSON
		_, err := get(ctx, r.place, info.Name, smallMax, &j)
		if errors.Is(err, blob.ErrNotFound) { // the restore has ended, or put another marker
			return nil, fmt.Errorf("%w: a restore reads from %s: try again later", ErrBusy, r)
		}
		if err != nil {
			return nil, err
		}
		ids[baseID{epoch(j.Epoch), wal.LSN(j.LSN)}] = true
	}
	return ids, nil
}
