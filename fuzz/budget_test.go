package fuzz

import (
	"flag"
	"os"
	"runtime/debug"
	"testing"
	"time"
)

var (
	effortFlag = flag.Int("kvd.effort", 1, "how many times more workloads and samples to try; also KVD_FUZZ=nightly for 200")
	shrinkFlag = flag.Duration("kvd.shrink", 30*time.Second, "how long a failure is made smaller")
	seedFlag   = flag.Uint64("kvd.seed", 0, "run the sweeps of this seed alone; 0: a fixed list")
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimDir); dir != "" {
		beKilled(dir)
	}
	flag.Parse()
	if os.Getenv("KVD_FUZZ") == "nightly" {
		*effortFlag = 200
	}
	debug.SetGCPercent(400) // images come and go by the thousand
	os.Exit(m.Run())
}

// effort scales how many workloads a test runs.
func effort(n int) int {
	n *= *effortFlag
	if testing.Short() || raceEnabled {
		n = max(1, n/slowness)
	}
	return n
}

// slowness is how much less is done under the race detector, and with -short.
const slowness = 8

// sample scales a sweep over all of something: it looks at every n-th.
func sample(n int64) int64 {
	if testing.Short() || raceEnabled {
		n *= slowness
	}
	return max(1, n/int64(*effortFlag))
}
