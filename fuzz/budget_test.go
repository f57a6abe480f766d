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
	debug.SetGCPercent(400) // thousands of images are made and dropped
	os.Exit(m.Run())
}

// effort multiplies the number of workloads that a test runs.
func effort(n int) int {
	n *= *effortFlag
	if testing.Short() || raceEnabled {
		n = max(1, n/slowness)
	}
	return n
}

// slowness divides the work under the race detector and with -short.
const slowness = 8

// chosen reports whether a random number is one of every n; it is if n is 0.
func chosen(random uint64, n int64) bool { return n == 0 || random>>32%uint64(n) == 0 }

// sample makes a sweep smaller: it takes every n-th element.
func sample(n int64) int64 {
	if testing.Short() || raceEnabled {
		n *= slowness
	}
	return max(1, n/int64(*effortFlag))
}
