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
}

// closedJSON is closed.json.
type closedJSON struct {
	Format int    `json:"format"`
	Token  string `json:"token"`
}

// claim begins a generation for a writer whose store is at lsn and shows that time. token names the writer.
func (r *Repository) claim(ctx context.Context, lsn wal.LSN, now time.Time, token string) (*generation, error) {
	objects, err := r.generations(ctx)
	if err != nil {
		return nil, err
	}
	highest, newest, shipped := epoch(0), wal.LSN(0), listedObject{}
	for _, o := range objects {
		highest = max(highest, o.epoch)
		switch {
		case o.log.first == 0:
			newest = max(newest, o.lsn)
		case o.lsn >= shipped.lsn:
			shipped = o
		}
	}
	if shipped.lsn > lsn { // the log of the same shipper may be ahead of its base
		owner, err := r.owner(ctx, shipped.epoch)
		if err != nil {
			return nil, err
		}
		if owner != token {
			newest = max(newest, shipped.lsn)
		}
	}
	if lsn < newest {
		return nil, fmt.Errorf("%w: %s has the store at LSN %d, and this one is at LSN %d: it is an older copy, or was restored; use another place for it",
			ErrRepoTaken, r, newest, lsn)
	}
	g := &generation{repo: r, epoch: highest + 1, token: token}
	err = put(ctx, r.place, g.epoch.owner(), ownerJSON{format, r.store, g.token, now})
	if errors.Is(err, blob.ErrExists) {
		return nil, g.taken()
	}
	if err != nil {
		return nil, err
	}
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

func (g *generation) taken() error {
	return fmt.Errorf("%w: another process writes in %s, as generation %d", ErrRepoTaken, g.repo, g.epoch)
}

// owner returns the token of a generation's writer. The error matches blob.ErrNotFound if nobody has claimed it.
func (r *Repository) owner(ctx context.Context, e epoch) (token string, err error) {
	var j ownerJSON
	_, err = get(ctx, r.place, e.owner(), smallMax, &j)
	return j.Token, err
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
		token, err := g.repo.owner(ctx, o.epoch)
		if err != nil {
			return err
		}
		if token != g.token {
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
