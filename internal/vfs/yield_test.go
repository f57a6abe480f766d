package vfs

import (
	"runtime"
	"sync/atomic"
	"testing"
)

// Goroutines that wait for the processor run during one Yield.
func TestYieldLetsTheQueueRun(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const waiting = 200
	var ran atomic.Int64
	for range waiting {
		go ran.Add(1)
	}
	Yield()
	if n := ran.Load(); n != waiting {
		t.Errorf("%d of %d goroutines ran", n, waiting)
	}
}
