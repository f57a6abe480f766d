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
//
// Without a window the leader yields once. Otherwise a caller whose group is of its request
// alone would lead again at once, and the callers that the group before answered, which wait for
// the same processor, would not run: 255 writers waited for 18 ms beside one that made 40 puts.
type rejoinWindow struct {
	answered int   // requests answered by the last group that wrote something
	want     int64 // length of the queue that ends the wait
	misses   int   // windows in a row that did not fill, at most rejoinMisses
	skipped  int   // groups since the last try while closed
	alone    int   // groups of one request in a row, at most rejoinAlone
}

const (
	rejoinMax    = 40 * time.Microsecond
	rejoinMisses = 4  // then the window closes
	rejoinProbe  = 64 // groups between two tries while closed
	rejoinLimit  = 512
	rejoinAlone  = 64 // then the leader does not yield either: it costs a lone writer a fifth of its rate
)

// opens reports whether there is a window before the next group.
func (w *rejoinWindow) opens() bool {
	if w.want <= 1 || w.want > rejoinLimit {
		return false
	}
	if w.misses < rejoinMisses {
		return true
	}
	w.skipped = (w.skipped + 1) % rejoinProbe
	return w.skipped == 0
}

// expect sets the length of the queue that ends the next wait: the requests in it now and
// as many as were answered.
func (w *rejoinWindow) expect(queued int) {
	w.want = int64(queued + w.answered)
	if w.answered > 1 || queued > 1 {
		w.alone = 0
	} else if w.alone < rejoinAlone {
		w.alone++
	}
}

// wait waits until the queue has the expected length, for rejoinMax at most. Without a window
// it yields once, except to a caller that has been alone for some time.
func (w *rejoinWindow) wait(queued *atomic.Int64) {
	if w.want > 1 && queued.Load() >= w.want {
		return
	}
	if !w.opens() {
		if w.alone < rejoinAlone {
			runtime.Gosched()
		}
		return
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
