package bench

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"kvd/bucket"
	"kvd/kv"
)

// BenchmarkChurn has 16 writers overwrite 100,000 keys of 128 bytes twenty times, and then
// waits ten seconds. It reports the disk use of the segments' files, as a multiple of the
// live bytes (the records, and about 40 bytes of index entry for each): the maximum, and the
// value at the end. It also reports when the use fell below 1.5 times for good, and the
// writers' latency: compare the p99 of compaction=on and off. Run it with -benchtime=1x.
func BenchmarkChurn(b *testing.B) {
	for _, order := range []string{"rounds", "random"} {
		for _, compaction := range []string{"on", "off"} {
			b.Run(fmt.Sprintf("order=%s/compaction=%s", order, compaction), func(b *testing.B) {
				for b.Loop() {
					churn(b, order == "random", compaction == "on")
				}
			})
		}
	}
}

const (
	churnRounds = 20
	churnRest   = 10 * time.Second
)

func churn(b *testing.B, random, compaction bool) {
	dir, seen := b.TempDir(), &compactions{}
	s := openCompacting(b, dir, compaction, seen)
	defer s.Close()
	bk := createBucket(b, s, kv.Config{Bucket: "bench"})
	load(b, bk, s, overKeys, 128)
	keys, value := keys16(0, overKeys), make([]byte, 128)
	status, err := bk.Status(ctx)
	if err != nil {
		b.Fatal(err)
	}
	live := float64(status.Bytes) + overKeys*40
	segments := filepath.Join(dir, "seg")
	most, stop := watchDisk(b, segments)
	start := time.Now()
	times := crowdN(16, overKeys*churnRounds, func(_, n int) {
		if random {
			n = rand.IntN(overKeys)
		}
		if _, err := bk.Put(ctx, keys[n%overKeys], value); err != nil {
			b.Error(err)
		}
	})
	took := time.Since(start)
	stop()
	slim := rest(b, segments, 1.5*live)
	b.ReportMetric(float64(len(times))/took.Seconds(), "puts/s")
	b.ReportMetric(float64(most.Load())/live, "x-live-most")
	b.ReportMetric(float64(diskUsed(b, segments))/live, "x-live-rest")
	b.ReportMetric(slim.Seconds(), "slim-s")
	b.ReportMetric(float64(seen.runs.Load()), "runs")
	b.ReportMetric(float64(seen.written.Load())/float64(len(times)), "copied-B/put")
	reportLatency(b, times)
}

// openCompacting opens a store with or without compaction.
func openCompacting(b *testing.B, dir string, compaction bool, o bucket.Observer) *bucket.Store {
	opts := bucket.Options{Observer: o}
	if !compaction {
		opts.CompactionRate = -1
	}
	s, err := bucket.Open(dir, opts)
	if err != nil {
		b.Fatal(err)
	}
	return s
}

// watchDisk measures a directory's disk use at intervals.
func watchDisk(b *testing.B, dir string) (most *atomic.Int64, stop func()) {
	most = &atomic.Int64{}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			most.Store(max(most.Load(), diskUsed(b, dir)))
			select {
			case <-quit:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return most, func() { close(quit); <-done }
}

// rest measures a directory's disk use for churnRest. It returns the time after which the
// use stayed at or below slim, or churnRest if it did not.
func rest(b *testing.B, dir string, slim float64) (after time.Duration) {
	start := time.Now()
	end := time.After(churnRest)
	after = churnRest
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		select {
		case <-tick.C:
			if float64(diskUsed(b, dir)) > slim {
				after = churnRest
			} else if after == churnRest {
				after = time.Since(start)
			}
		case <-end:
			tick.Stop()
			return after
		}
	}
}

// compactions counts compactions.
type compactions struct {
	runs, written atomic.Int64
}

// Committed implements bucket.Observer.
func (*compactions) Committed(bucket.Commit) {}

// Compacted implements bucket.CompactionObserver.
func (c *compactions) Compacted(done bucket.Compaction) {
	c.runs.Add(1)
	c.written.Add(done.Written)
}

// BenchmarkLightWriters overwrites half of the keys of a bucket, and then makes a hundred
// puts a second for ten seconds, so the store is never without writes. It reports the disk
// use of the segments as a multiple of the live bytes, which should be at most 1.5 at the
// end, and the latency of those puts. Run it with -benchtime=1x.
func BenchmarkLightWriters(b *testing.B) {
	for _, compaction := range []string{"on", "off"} {
		b.Run("compaction="+compaction, func(b *testing.B) {
			for b.Loop() {
				lightWriters(b, compaction == "on")
			}
		})
	}
}

func lightWriters(b *testing.B, compaction bool) {
	dir := b.TempDir()
	s := openCompacting(b, dir, compaction, nil)
	defer s.Close()
	bk := createBucket(b, s, kv.Config{Bucket: "bench"})
	load(b, bk, s, overKeys, 128)
	load(b, bk, s, overKeys/2, 128)
	status, err := bk.Status(ctx)
	if err != nil {
		b.Fatal(err)
	}
	live := float64(status.Bytes) + overKeys*40
	keys, value := keys16(0, overKeys), make([]byte, 128)
	var times []time.Duration
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for n := 0; time.Duration(n)*10*time.Millisecond < churnRest; n++ {
		<-tick.C
		start := time.Now()
		if _, err := bk.Put(ctx, keys[rand.IntN(overKeys)], value); err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	b.ReportMetric(float64(diskUsed(b, filepath.Join(dir, "seg")))/live, "x-live-end")
	reportLatency(b, times)
}
