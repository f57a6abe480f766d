package bench

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"kvd/backup"
	"kvd/bucket"
	"kvd/kv"
)

// BenchmarkBackup makes a backup of a store of 384 MiB: values of 1 KiB that shrink to three quarters.
// Without writers it compares the rate with that of reading the same files one after the other, both from
// the disk. With four writers it compares their latency and their rate with those without a backup, and
// once more with a backup at 50 MiB a second. Run it with -benchtime=1x.
func BenchmarkBackup(b *testing.B) {
	dir := b.TempDir()
	s := openStore(b, dir)
	bk := createBucket(b, s, kv.Config{Bucket: "b"})
	loadText(b, s, bk, 384<<10)
	if err := s.Checkpoint(ctx); err != nil {
		b.Fatal(err)
	}
	b.Run("writers=0", func(b *testing.B) {
		for b.Loop() {
			dropCache(b, dir)
			raw := rateOf(func() int64 { return readAll(b, dir) })
			dropCache(b, dir)
			own := rateOf(func() int64 { return takeBackup(b, s, 0) })
			b.ReportMetric(own, "MB/s")
			b.ReportMetric(raw, "raw-MB/s")
			b.ReportMetric(own/raw, "x-raw")
		}
	})
	for _, rate := range []int64{0, 50 << 20} {
		b.Run(fmt.Sprintf("writers=4/rate=%dMiB", rate>>20), func(b *testing.B) {
			for b.Loop() {
				var took time.Duration
				busy := beside(b, bk, func() {
					took = timed(func() { takeBackup(b, s, rate) })
				})
				quiet := beside(b, bk, func() { <-time.After(took) })
				b.ReportMetric(took.Seconds(), "backup-s")
				b.ReportMetric(percentile(quiet, 99).Seconds()*1e6, "quiet-p99-us")
				b.ReportMetric(percentile(busy, 99).Seconds()*1e6, "p99-us")
				b.ReportMetric(percentile(busy, 99).Seconds()/percentile(quiet, 99).Seconds(), "x-p99")
				b.ReportMetric(float64(len(busy))/float64(len(quiet)), "x-rate")
			}
		})
	}
}

// loadText puts n values of 1 KiB that compress as text with numbers does.
func loadText(b *testing.B, s *bucket.Store, bk *bucket.Bucket, n int) {
	random := rand.New(rand.NewPCG(1, 1))
	for i := 0; i < n; {
		var muts []kv.Mutation
		for ; i < n && len(muts) < 4096; i++ {
			value := make([]byte, 0, 1024)
			for len(value) < 1000 {
				value = fmt.Appendf(value, "%x", random.Uint64())
			}
			muts = append(muts, kv.Mutation{Bucket: bk.Name(), Op: kv.MutatePut, Key: key16(i + 1_000_000), Value: value})
		}
		if err := s.Submit(ctx, muts); err != nil {
			b.Fatal(err)
		}
	}
}

// takeBackup makes a backup that is thrown away, and returns how many bytes it read.
func takeBackup(b *testing.B, s *bucket.Store, rate int64) int64 {
	report, err := backup.Write(ctx, io.Discard, s, bucket.BackupOptions{Rate: rate})
	if err != nil || report.Damage > 0 {
		b.Error(report.Damage, err)
	}
	return report.Bytes
}

// readAll reads the segments of a store, one after the other.
func readAll(b *testing.B, dir string) (n int64) {
	names, err := filepath.Glob(filepath.Join(dir, "seg", "*"))
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 4<<20)
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			b.Fatal(err)
		}
		for {
			m, err := f.Read(buf)
			n += int64(m)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		f.Close()
	}
	return n
}

// rateOf returns MB a second.
func rateOf(do func() int64) float64 {
	began := time.Now()
	n := do()
	return float64(n) / 1e6 / time.Since(began).Seconds()
}
