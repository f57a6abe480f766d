package repo

import (
	"context"
	"fmt"
	"time"
)

// Pruned says what [Repository.Prune] has removed.
type Pruned struct {
	Bases int
	Parts int
	Logs  int   // log objects
	Bytes int64 // of objects
}

const (
	// openAge is after which time a generation that was not closed counts as closed: its writer ended.
	openAge = 24 * time.Hour
	// pruneTime bounds the work of one call, so that its marker does not end before it.
	pruneTime = markerAge - 10*time.Minute
)

// Prune removes each base for which a newer verified base is at least that old: so every state from that
// age on is still there, as far as it ever was. It never removes the newest verified base, nor one that a
// restore reads. Then it removes the log objects before the oldest base that stays, and the parts that no base
// needs. The error matches ErrBusy while another process writes or removes, and kv.ErrCorrupt if a base cannot be
// read: then its parts are not known, and nothing is removed.
func (r *Repository) Prune(ctx context.Context, keep time.Duration) (Pruned, error) {
	return r.prune(ctx, keep, "")
}

// prune is Prune for the writer with a token, whose generations may be open.
func (r *Repository) prune(ctx context.Context, keep time.Duration, token string) (Pruned, error) {
	marker, err := r.mark(ctx, pruningDir, markerJSON{})
	if err != nil {
		return Pruned{}, err
	}
	defer r.unmark(ctx, marker.Name)
	p := &pruning{repo: r, token: token, now: marker.Modified, marker: marker.Name, began: time.Now()}
	if err := p.checkAlone(ctx); err != nil {
		return p.done, err
	}
	err = p.removeBases(ctx, keep)
	if err == nil {
		err = p.removeLogs(ctx)
	}
	if err == nil {
		err = p.removeParts(ctx)
	}
	return p.done, err
}

// pruning is one call of Prune.
type pruning struct {
	repo   *Repository
	token  string    // of the caller's generations; empty: it has none
	now    time.Time // by the clock of the place
	marker string
	began  time.Time
	kept   []*Point // descending by LSN
	logs   []storedLog
	done   Pruned
}

// checkAlone returns ErrBusy if somebody else writes or removes.
func (p *pruning) checkAlone(ctx context.Context) error {
	infos, err := p.repo.place.List(ctx, pruningDir)
	if err != nil {
		return err
	}
	for _, info := range infos {
		switch {
		case info.Name == p.marker:
		case p.now.Sub(info.Modified) < markerAge:
			return fmt.Errorf("%w: another process removes old backups from %s", ErrBusy, p.repo)
		default:
			p.repo.unmark(ctx, info.Name)
		}
	}
	objects, err := p.repo.generations(ctx)
	if err != nil {
		return err
	}
	closed := closedAmong(objects)
	for _, o := range objects {
		if !o.owner || closed[o.epoch] || p.now.Sub(o.Modified) >= openAge {
			continue
		}
		owner, err := p.repo.owner(ctx, o.epoch)
		if err != nil {
			return err
		}
		if owner.Token != p.token {
			return fmt.Errorf("%w: another process writes in %s, as generation %d, or has ended within a day without saying so", ErrBusy, p.repo, o.epoch)
		}
	}
	return nil
}

// removeBases removes what is superseded, and remembers what stays.
func (p *pruning) removeBases(ctx context.Context, keep time.Duration) error {
	c, err := p.repo.contents(ctx)
	if err != nil {
		return err
	}
	if len(c.broken) > 0 {
		return fmt.Errorf("nothing is removed: %w", c.broken[0])
	}
	points := c.points
	p.logs = c.logs
	restoring, err := p.repo.restoring(ctx, p.now)
	if err != nil {
		return err
	}
	superseded := false // by a newer verified one of that age
	for i := len(points) - 1; i >= 0; i-- {
		x := points[i]
		if !superseded || restoring[x.id] {
			p.kept = append(p.kept, x)
		} else if err := p.removeBase(ctx, x); err != nil {
			return err
		}
		superseded = superseded || x.Verified && p.now.Sub(x.Put) >= keep
	}
	return nil
}

// removeBase removes a base. It stops counting first.
func (p *pruning) removeBase(ctx context.Context, x *Point) error {
	for _, name := range []string{x.id.verified(), x.id.list()} {
		if err := p.remove(ctx, name); err != nil {
			return err
		}
	}
	p.done.Bases++
	return nil
}

// removeLogs removes the log objects that no base needs.
func (p *pruning) removeLogs(ctx context.Context) error {
	if len(p.kept) == 0 {
		return nil
	}
	oldest := p.kept[len(p.kept)-1].LSN
	for _, l := range p.logs {
		if l.last > oldest {
			continue
		}
		if err := p.remove(ctx, l.name()); err != nil {
			return err
		}
		p.done.Logs++
		p.done.Bytes += l.size
	}
	return nil
}

// removeParts removes the parts that no base needs.
func (p *pruning) removeParts(ctx context.Context) error {
	parts, err := p.repo.parts(ctx)
	if err != nil {
		return err
	}
	for _, x := range p.kept {
		for files := range x.list.all {
			for _, part := range files.Parts {
				delete(parts, part.sum)
			}
		}
	}
	for sum, size := range parts {
		if err := p.remove(ctx, partName(sum)); err != nil {
			return err
		}
		p.done.Parts++
		p.done.Bytes += size
	}
	return nil
}

// remove removes an object, while there is time.
func (p *pruning) remove(ctx context.Context, name string) error {
	if time.Since(p.began) > pruneTime {
		return fmt.Errorf("%w: not everything could be removed in %v: try again", ErrBusy, pruneTime)
	}
	return p.repo.place.Delete(ctx, name)
}
