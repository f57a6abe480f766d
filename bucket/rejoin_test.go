package bucket

import (
	"runtime"
	"sync/atomic"
	"testing"
)

// Callers that were answered run before a leader takes its next group, also if there is no
// window: its last group had its request alone, or earlier windows did not fill.
func TestALeaderLetsOthersRun(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for name, w := range map[string]*rejoinWindow{
		"alone":       {answered: 1},
		"many":        {answered: rejoinLimit + 1},
		"few came":    {answered: 8, misses: rejoinMisses},
		"few at last": {answered: 1, misses: rejoinMisses},
	} {
		var queued, ran atomic.Int64
		w.expect(0)
		go ran.Add(1)
		for range 2 { // one of 61 times the scheduler takes the goroutine that yields first
			w.wait(&queued)
		}
		if ran.Load() != 1 {
			t.Errorf("%s: the leader goes on before the caller that it answered", name)
		}
	}
}
