package bucket

import (
	"context"
	"time"

	"kvd/wal"
)

// pacer bounds what compaction takes of the disk and the processor. It serves one
// compaction at a time.
type pacer struct {
	store *Store
	ctx   context.Context // of who waits for it; ended, it ends the compaction
	quit  <-chan struct{} // closed when the store's background stops
	rate  int64           // bytes a second beside writers; 0: no bound, nobody is to be spared

	spent  int64 // bytes since began
	began  time.Time
	seen   wal.LSN       // the log's position then
	rested time.Duration // since this was last asked for
}

const (
	compactionRateDefault = 32 << 20
	// restful is how much faster compaction may go where nobody writes.
	restful = 4
	// paceStep is after how many bytes a pacer looks at the clock: at the default
	// rate, every 8 ms.
	paceStep = 256 << 10
)

// spend counts bytes, and rests where they came too fast. It returns an error
// where the compaction is to end.
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

// rest waits, unless the compaction is to end.
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

// shares reports whether somebody else wants the disk.
func (p *pacer) shares() bool { return p.rate > 0 }

// checkpoints returns how a checkpoint is to run for the compaction.
func (p *pacer) checkpoints() pace { return pace(p.shares()) }
