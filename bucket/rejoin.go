package bucket

import (
	"runtime"
	"sync/atomic"
	"time"
)

// rejoinWindow lets the callers that were just answered come back before the
// next group is taken. Without it exactly half of a set of closed-loop writers
// shares each sync; with it nearly all do, which doubles their rate. It is a
// short loop of Gosched (a sleep that short takes a millisecond), and it closes
// while it does not pay: over a network one request in flight never comes back
// in time. Refused requests do not count: callers that race for one key gain
// nothing by meeting in a group that only one of them can win.
type rejoinWindow struct {
	answered int   // requests answered by the last group that wrote something
	want     int64 // length of the queue that ends the wait
	misses   int   // windows in a row that did not fill, at most rejoinMisses
	skipped  int   // groups since the last try while closed
}

const (
	rejoinMax    = 40 * time.Microsecond
	rejoinMisses = 4  // then the window closes
	rejoinProbe  = 64 // groups between two tries while closed
	rejoinLimit  = 512
)

// expect sets how many requests end the next wait: those in the queue, and as many as
// were answered.
func (w *rejoinWindow) expect(queued int) { w.want = int64(queued + w.answered) }

func (w *rejoinWindow) wait(queued *atomic.Int64) {
	if w.want <= 1 || w.want > rejoinLimit || queued.Load() >= w.want {
		return
	}
	if w.misses >= rejoinMisses {
		if w.skipped++; w.skipped < rejoinProbe {
			return
		}
		w.skipped = 0
	}
	before := queued.Load()
	for start := time.Now(); queued.Load() < w.want && time.Since(start) < rejoinMax; {
		runtime.Gosched()
	}
	// It paid if it brought at least half of those it waited for.
	if joined := queued.Load() - before; 2*joined >= w.want-before {
		w.misses = 0
	} else if w.misses < rejoinMisses {
		w.misses++
	}
}
