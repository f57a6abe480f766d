package repo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"kvd/backup/blob"
	"kvd/kv"
	"kvd/wal"
)

// Point is a state of the store that the repository has.
type Point struct {
	LSN      wal.LSN // position of the store's log
	Time     time.Time
	Verified bool // it was read back when it was made; others do not count
	Damage   int  // places of the store that were damaged then
	Buckets  []PointBucket
	Files    int
	Size     int64     // of the files, bytes
	Stored   int64     // of the objects that it needs, bytes; points share objects
	Put      time.Time // by the clock of the place

	id   baseID
	list *listJSON
	sum  string
}

// PointBucket describes a bucket of a point.
type PointBucket struct {
	Name     string
	Revision kv.Revision // the newest one; 0: none
	Keys     uint64      // with a record, deleted ones included
}

// stored returns the size of all objects of a base.
func (l *listJSON) stored() (n int64) {
	seen := make(map[string]bool)
	for p := range l.all {
		for _, x := range p.Parts {
			if !seen[x.sum] {
				seen[x.sum] = true
				n += x.stored
			}
		}
	}
	return n
}

// list reads a base's list.
func (r *Repository) list(ctx context.Context, id baseID) (*Point, error) {
	var l listJSON
	sum, err := get(ctx, r.place, id.list(), listMax, &l)
	if err == nil {
		if wrong := l.check(id); wrong != nil {
			err = corrupt(r.place, id.list(), "%v", wrong)
		} else if l.Store != r.store {
			err = corrupt(r.place, id.list(), "it is of store %s", l.Store)
		}
	}
	if err != nil {
		return nil, err
	}
	p := &Point{LSN: l.LSN, Time: l.Time, Damage: l.Damage, Files: len(l.Files), Stored: l.stored(), id: id, list: &l, sum: sum}
	for _, b := range l.Buckets {
		p.Buckets = append(p.Buckets, PointBucket(b))
	}
	for _, f := range l.Files {
		p.Size += f.Size
	}
	return p, nil
}

// Points returns the bases that the repository can restore, ascending by LSN. broken are the errors of bases whose
// objects are damaged; they match kv.ErrCorrupt or kv.ErrVersion.
func (r *Repository) Points(ctx context.Context) (points []*Point, broken []error, err error) {
	c, err := r.contents(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, b := range c.broken {
		broken = append(broken, b)
	}
	return c.points, broken, nil
}

// brokenBase is a base whose objects are damaged, and the error.
type brokenBase struct {
	id       baseID
	verified bool // once
	error
}

func (b brokenBase) Unwrap() error { return b.error }

// newestBroken returns the newest base that was verified and is damaged now, or nil.
func (c *contents) newestBroken() (newest *brokenBase) {
	for i := range c.broken {
		if b := &c.broken[i]; b.verified && (newest == nil || b.id.lsn > newest.id.lsn) {
			newest = b
		}
	}
	return newest
}

// contents is what a repository has.
type contents struct {
	points []*Point // ascending by LSN
	broken []brokenBase
	logs   []storedLog // ascending by LSN
}

// contents lists the generations, and reads the lists of the bases.
func (r *Repository) contents(ctx context.Context) (*contents, error) {
	objects, err := r.generations(ctx)
	if err != nil {
		return nil, err
	}
	c := &contents{logs: logsOf(objects)}
	verified := make(map[baseID]bool)
	for _, o := range objects {
		if o.verified {
			verified[baseID{o.epoch, o.lsn}] = true
		}
	}
	for _, o := range objects {
		if !o.base || o.verified {
			continue
		}
		id := baseID{o.epoch, o.lsn}
		p, err := r.list(ctx, id)
		if err == nil && verified[id] {
			err = r.checkVerified(ctx, p)
		}
		switch {
		case errors.Is(err, blob.ErrNotFound): // removed meanwhile
			continue
		case err != nil && isDamage(err):
			c.broken = append(c.broken, brokenBase{id, verified[id], err})
			continue
		case err != nil:
			return nil, err
		}
		p.Put = o.Modified
		c.points = append(c.points, p)
	}
	slices.SortFunc(c.points, func(a, b *Point) int {
		return cmp.Or(cmp.Compare(a.LSN, b.LSN), cmp.Compare(a.id.epoch, b.id.epoch))
	})
	return c, nil
}

// checkVerified reads the object that says that a point counts.
func (r *Repository) checkVerified(ctx context.Context, p *Point) error {
	var j verifiedJSON
	if _, err := get(ctx, r.place, p.id.verified(), smallMax, &j); err != nil {
		return err
	}
	if j.Sum != p.sum {
		return corrupt(r.place, p.id.list(), "it is not the list that was verified")
	}
	p.Verified = true
	return nil
}

// Target says which state to restore. The zero value is the newest one.
type Target struct {
	LSN  wal.LSN   // this one; 0: any
	Time time.Time // what the store had at this time; zero: any
}

// GapError says that the repository does not have the state at a target. It matches ErrNoPoint.
type GapError struct {
	Target        Target
	Before, After *Point  // the nearest ones; nil: there is none
	Last          Instant // the last state before that is known: of the log behind Before; zero: Before itself
}

func (e *GapError) Error() string {
	what := fmt.Sprintf("LSN %d", e.Target.LSN)
	if !e.Target.Time.IsZero() {
		what = e.Target.Time.UTC().Format(time.RFC3339Nano)
	}
	text := fmt.Sprintf("%v at %s", ErrNoPoint, what)
	separator := ": "
	if e.Before != nil {
		last := Instant{e.Before.LSN, e.Before.Time}
		if e.Last.LSN > last.LSN {
			last = e.Last
		}
		text += fmt.Sprintf(": the last one before is %s", last)
		separator = "; "
	}
	if e.After != nil {
		text += fmt.Sprintf("%sthe next one is %s", separator, e.After)
	}
	return text
}

func (e *GapError) Unwrap() error { return ErrNoPoint }

// String returns LSN and time.
func (p *Point) String() string {
	return fmt.Sprintf("LSN %d of %s", p.LSN, p.Time.UTC().Format(time.RFC3339Nano))
}

// Nearest returns the last verified point that is not behind a target, and the first verified one behind it; nil:
// there is none. The points are ascending.
func Nearest(points []*Point, t Target) (before, after *Point) {
	for _, p := range points {
		switch {
		case !p.Verified:
		case t.compare(p) <= 0:
			before = p
		case after == nil:
			after = p
		}
	}
	return before, after
}

// compare tells whether a point is before, at or behind the target. Every point is at the zero target.
func (t Target) compare(p *Point) int {
	switch {
	case t.LSN != 0:
		return cmp.Compare(p.LSN, t.LSN)
	case !t.Time.IsZero():
		return p.Time.Compare(t.Time)
	}
	return 0
}
