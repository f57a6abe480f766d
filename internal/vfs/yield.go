package vfs

import "runtime"

// yields is how often Yield yields. Of a full queue, 256 goroutines, the scheduler runs at least
// 60 between two turns of a goroutine that yields.
const yields = 5

// Yield lets the goroutines run that wait for the calling goroutine's processor. Background work
// calls it right before a call of the file system that may take long.
//
// The reason is the Go scheduler. A goroutine in a system call keeps its processor, and with it
// the goroutines in that processor's queue, until the runtime's monitor takes the processor
// away. The monitor sleeps for up to 10 ms if it had nothing to do, and has to look twice. The
// other processors do not help as long as each has work. So a sync in the background, which
// began when a group of writers had just been woken, made them wait for up to 17 ms.
//
// To yield until two turns in a row take less than a microsecond, so that the queue is certainly
// empty, made no difference to yielding five times.
func Yield() {
	for range yields {
		runtime.Gosched()
	}
}
