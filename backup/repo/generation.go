package repo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kvd/backup/blob"
	"kvd/wal"
)

// generation is what one writer adds to a repository.
type generation struct {
	repo  *Repository
	epoch epoch
	token string
}

// ownerJSON is owner.json.
type ownerJSON struct {
	Format int       `json:"format"`
	Store  string    `json:"store"`
	Token  string    `json:"token"`
	Time   time.Time `json:"time"`
	Ships  bool      `json:"ships,omitempty"`
}

// closedJSON is closed.json.
type closedJSON struct {
	Format int    `json:"format"`
	Token  string `json:"token"`
}

// claimant is a writer that claims generations. It is for one goroutine.
type claimant struct {
	token string // of all its generations
	since epoch  // its newest one; 0: it has none yet
	ships bool   // it copies the log
}

// claim begins a generation for a writer whose store is at that position. The error matches errFenced if another
// shipper has claimed one since the newest of this writer, and has not finished.
func (r *Repository) claim(ctx context.Context, at Instant, by *claimant) (*generation, error) {
	objects, err := r.generations(ctx)
	if err == nil {
		err = r.checkFence(ctx, objects, by)
	}
	if err == nil {
		err = r.checkPosition(ctx, objects, at.LSN, by.token)
	}
	if err != nil {
		return nil, err
	}
	highest := epoch(0)
	for _, o := range objects {
		highest = max(highest, o.epoch)
	}
	g := &generation{repo: r, epoch: highest + 1, token: by.token}
	err = put(ctx, r.place, g.epoch.owner(), ownerJSON{format, r.store, g.token, at.Time, by.ships})
	if errors.Is(err, blob.ErrExists) {
		return nil, g.taken()
	}
	if err != nil {
		return nil, err
	}
	by.since = g.epoch
	info, err := r.place.Stat(ctx, g.epoch.owner())
	if err == nil {
		err = r.checkPruning(ctx, info.Modified)
	}
	if err != nil {
		g.close(ctx)
		return nil, err
	}
	return g, nil
}

// checkFence returns errFenced if another shipper has claimed a generation since that of this writer, and has not
// finished: this one would end it, and then it would end this one.
func (r *Repository) checkFence(ctx context.Context, objects []listedObject, by *claimant) error {
	if by.since == 0 {
		return nil
	}
	closed := closedAmong(objects)
	for _, o := range objects {
		if !o.owner || o.epoch <= by.since || closed[o.epoch] {
			continue
		}
		owner, err := r.owner(ctx, o.epoch)
		if err != nil {
			return err
		}
		if owner.Ships && owner.Token != by.token {
			return fmt.Errorf("%w, as generation %d", errFenced, o.epoch)
		}
	}
	return nil
}

// closedAmong returns the generations whose writers have finished.
func closedAmong(objects []listedObject) map[epoch]bool {
	closed := make(map[epoch]bool)
	for _, o := range objects {
		closed[o.epoch] = closed[o.epoch] || o.closed
	}
	return closed
}

// checkPosition refuses a store that is behind what the repository has. The log of the same writer may be ahead
// of its base.
func (r *Repository) checkPosition(ctx context.Context, objects []listedObject, lsn wal.LSN, token string) error {
	newest, shipped := wal.LSN(0), listedObject{}
	for _, o := range objects {
		switch {
		case o.log.first == 0:
			newest = max(newest, o.lsn)
		case o.lsn >= shipped.lsn:
			shipped = o
		}
	}
	if shipped.lsn > lsn {
		owner, err := r.owner(ctx, shipped.epoch)
		if err != nil {
			return err
		}
		if owner.Token != token {
			newest = max(newest, shipped.lsn)
		}
	}
	if lsn < newest {
		return fmt.Errorf("%w: %s has the store at LSN %d, and this one is at LSN %d: it is an older copy, or was restored; use another place for it",
			ErrRepoTaken, r, newest, lsn)
	}
	return nil
}

func (g *generation) taken() error {
	return fmt.Errorf("%w: another process writes in %s, as generation %d", ErrRepoTaken, g.repo, g.epoch)
}

// owner returns the writer of a generation. The error matches blob.ErrNotFound if nobody has claimed it.
func (r *Repository) owner(ctx context.Context, e epoch) (j ownerJSON, err error) {
	_, err = get(ctx, r.place, e.owner(), smallMax, &j)
	return j, err
}

// check returns ErrRepoTaken if another writer has claimed a later generation.
func (g *generation) check(ctx context.Context) error {
	objects, err := g.repo.generations(ctx)
	if err != nil {
		return err
	}
	for _, o := range objects {
		if !o.owner || o.epoch <= g.epoch {
			continue
		}
		owner, err := g.repo.owner(ctx, o.epoch)
		if err != nil {
			return err
		}
		if owner.Token != g.token {
			return fmt.Errorf("%w: another process began to write in %s, as generation %d, while this one did", ErrRepoTaken, g.repo, o.epoch)
		}
	}
	return nil
}

// close says that the writer has finished. If that fails, the generation counts as open for a day.
func (g *generation) close(ctx context.Context) {
	ctx, cancel := lastCall(ctx)
	defer cancel()
	_ = put(ctx, g.repo.place, g.epoch.closed(), closedJSON{format, g.token})
}

// lastCallTime bounds what is said to the place at the end: a server that stops waits for it.
const lastCallTime = 5 * time.Second

// lastCall returns a context for a call that is made although ctx may have ended.
func lastCall(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), lastCallTime)
}

// listedObject is an object in a generation, with what the place knows of it.
type listedObject struct {
	generationObject
	blob.Info
}

// generations returns the objects in all generations, ascending by name.
func (r *Repository) generations(ctx context.Context) ([]listedObject, error) {
	infos, err := r.place.List(ctx, generationDir)
	if err != nil {
		return nil, err
	}
	var objects []listedObject
	for _, info := range infos {
		if o, ok := parseGeneration(info.Name); ok {
			objects = append(objects, listedObject{o, info})
		}
	}
	return objects, nil
}
