package bucket

import (
	"runtime"
	"sync/atomic"
	"time"
)

// rejoinWindow is a short wait before the next group is taken. In it, callers that were
// just answered can send their next requests. Without it, exactly half of a set of
// closed-loop writers shares each sync. With it nearly all do, which doubles their rate.
//
// The wait is a loop of Gosched, because a sleep that short takes a millisecond. The
// window closes while it does not pay: over a network, a caller with one request in
// flight never comes back in time. Refused requests do not count: if callers race for
// one key, a common group helps none of them, because only one can win.
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

// expect sets the length of the queue that ends the next wait: the requests in it now and
// as many as were answered.
func (w *rejoinWindow) expect(queued int) { w.want = int64(queued + w.answered) }

// wait waits until the queue has the expected length, for rejoinMax at most.
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
	// The wait paid if at least half of the expected requests came.
	if joined := queued.Load() - before; 2*joined >= w.want-before {
		w.misses = 0
	} else if w.misses < rejoinMisses {
		w.misses++
	}
}
