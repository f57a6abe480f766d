package repo

import (
	"context"
	"fmt"
	"time"

	"kvd/bucket"
	"kvd/wal"
)

// Instant is a state of the store.
type Instant struct {
	LSN  wal.LSN   // position of the log
	Time time.Time // of the store at that position
}

// String returns LSN and time.
func (i Instant) String() string {
	return fmt.Sprintf("LSN %d of %s", i.LSN, i.Time.UTC().Format(time.RFC3339Nano))
}

// Plan is how the repository makes the state at a target: a base, and frames of the log behind it.
type Plan struct {
	Instant         // the state: that of the base, if there are no frames
	Base    *Point  // verified
	Frames  int     // behind the base
	Bytes   int64   // of their content
	Next    Instant // the next state that is known; zero: none
	Cut     wal.LSN // of the newest state: the newest frame behind a gap, to which no base leads; 0: there is none

	logs    []storedLog // ascending; behind the base
	words   wal.Words   // of the first frame
	numbers uint64      // above those of the frames' value files
}

// Plan finds the newest state at a target: of an LSN that one, of a time that of the last frame which is
// not younger. It reads the log objects that the state needs, and checks every bit of them. The error is a
// *[GapError] if the repository does not know the state, never another state; it matches kv.ErrCorrupt if
// an object is missing or not right, also if a damaged base is newer than the newest state.
func (r *Repository) Plan(ctx context.Context, t Target) (*Plan, error) {
	c, err := r.contents(ctx)
	if err != nil {
		return nil, err
	}
	p, err := r.plan(ctx, c, t)
	switch newest := c.newestBroken(); {
	case newest == nil:
	case err != nil:
		err = fmt.Errorf("%w; of damaged backups: %w", err, newest)
	case t == Target{} && p.LSN < newest.id.lsn:
		return nil, fmt.Errorf("the newest backup cannot be read: name an older state, such as LSN %d: %w", p.LSN, newest)
	}
	return p, err
}

func (r *Repository) plan(ctx context.Context, c *contents, t Target) (*Plan, error) {
	base, after := Nearest(c.points, t)
	if base == nil {
		return nil, &GapError{Target: t, After: after}
	}
	p := &Plan{Base: base, Instant: Instant{base.LSN, base.Time}, logs: counting(c.logs)}
	reached, err := p.scan(ctx, r, t)
	if err != nil {
		return nil, err
	}
	if after != nil && p.Next.LSN == 0 {
		p.Next = Instant{after.LSN, after.Time}
		reached = reached || after.LSN == p.LSN // nothing was written in between
	}
	if !reached {
		return nil, &GapError{Target: t, Before: base, Last: p.Instant, After: after}
	}
	if newest := newestOf(p.logs); t == (Target{}) && newest > p.LSN {
		p.Cut = newest
	}
	return p, nil
}

// newestOf returns the newest frame of log objects; 0: there is none.
func newestOf(logs []storedLog) (newest wal.LSN) {
	for _, l := range logs {
		newest = max(newest, l.until)
	}
	return newest
}

// scan goes from the base to the target. It reports whether that is a state that is known.
func (p *Plan) scan(ctx context.Context, r *Repository, t Target) (reached bool, err error) {
	x, err := r.read(ctx, p.Base)
	if err != nil {
		return false, err
	}
	defer x.close()
	reached = t.compare(p.Base) == 0
	err = x.frames(p.logs, func(f *bucket.TailFrame) (more bool, err error) {
		at := Instant{f.LSN, time.Unix(0, f.Time).UTC()}
		if t.isBefore(at) {
			p.Next, reached = at, true
			return false, nil
		}
		if p.Frames == 0 {
			p.words = f.Words
		}
		for _, v := range f.Values {
			p.numbers = max(p.numbers, v.Number+1)
		}
		p.Frames++
		p.Bytes += f.Size()
		p.Instant = at
		reached = reached || t.LSN != 0 && f.LSN == t.LSN || !t.Time.IsZero() && at.Time.Equal(t.Time)
		return true, nil
	})
	return reached, err
}

// isBefore reports whether a target is before a state.
func (t Target) isBefore(i Instant) bool {
	switch {
	case t.LSN != 0:
		return i.LSN > t.LSN
	case !t.Time.IsZero():
		return i.Time.After(t.Time)
	}
	return false
}

// frames calls fn for each frame behind the base, ascending, until it returns false, or the next one is in no
// log object.
func (x *reader) frames(logs []storedLog, fn func(f *bucket.TailFrame) (more bool, err error)) error {
	p, err := newLogPacker()
	if err != nil {
		return err
	}
	defer p.close()
	next, words := x.point.LSN+1, x.content.Words // of the next frame
	for _, l := range logs {
		if l.until < next {
			continue
		}
		if l.first > next {
			return nil
		}
		if err := x.mark(); err != nil {
			return err
		}
		o, err := p.readLog(x.ctx, x.repo, l)
		if err != nil {
			return err
		}
		for i := range o.frames[:l.until-l.first+1] {
			f := &o.frames[i]
			if f.LSN < next {
				continue
			}
			if words != (wal.Words{}) && !follows(words, f.Words) {
				return corrupt(x.repo.place, l.name(), "LSN %d does not follow the frame before: it is of another copy of the store", f.LSN)
			}
			if more, err := fn(f); err != nil || !more {
				return err
			}
			next, words = f.LSN+1, f.Next
		}
	}
	return nil
}

// follows reports whether a frame has the words that the frame before it gave. An open of the store may widen
// the filter of the newest frames.
func follows(given, found wal.Words) bool {
	given.Recent = found.Recent
	return given == found
}
