package bucket

import (
	"context"
	"time"

	"kvd/wal"
)

// pacer bounds the disk and processor time that compaction takes. It serves one compaction
// at a time.
type pacer struct {
	store *Store
	ctx   context.Context // its end ends the compaction
	quit  <-chan struct{} // closed when the background of the store stops
	rate  int64           // bytes per second while there are writers; 0: no bound

	spent  int64 // bytes since began
	began  time.Time
	seen   wal.LSN       // the log's position then
	rested time.Duration // since this was last reset
}

const (
	compactionRateDefault = 32 << 20
	// restful is the factor by which compaction is faster while there are no writes.
	restful = 4
	// paceStep is the number of bytes after which a pacer reads the clock: at the default
	// rate every 8 ms.
	paceStep = 256 << 10
)

// spend counts bytes, and waits if the compaction is ahead of its rate. It returns an error
// if the compaction has to end.
func (p *pacer) spend(n int64) error {
	p.spent += n
	if p.spent < paceStep {
		return nil
	}
	if err := p.ctx.Err(); err != nil {
		return err
	}
	rate, last := p.rate, wal.LSN(0)
	if rate > 0 {
		if last = p.store.log.Last(); last == p.seen {
			rate *= restful
		}
		due := time.Duration(float64(p.spent) / float64(rate) * float64(time.Second))
		if err := p.rest(due - time.Since(p.began)); err != nil {
			return err
		}
	}
	p.spent, p.began, p.seen = 0, time.Now(), last
	return nil
}

// rest waits for d. It returns an error if the compaction has to end.
func (p *pacer) rest(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	p.rested += d
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-p.ctx.Done():
		return p.ctx.Err()
	case <-p.quit:
		return errStopped
	}
}

// shares reports whether the compaction has to be slow for the sake of writers.
func (p *pacer) shares() bool { return p.rate > 0 }

// checkpoints returns the pace of a checkpoint that the compaction needs.
func (p *pacer) checkpoints() pace { return pace(p.shares()) }
