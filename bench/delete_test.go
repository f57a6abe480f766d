package bench

import (
	"flag"
	"path/filepath"
	"testing"
	"time"

	"kvd/bucket"
	"kvd/kv"
)

var deleteKeys = flag.Int("delete-keys", 1_000_000, "keys of the bucket that BenchmarkDeleteBucket deletes")

// BenchmarkDeleteBucket deletes a bucket of many keys while four closed-loop writers use
// another bucket. It reports the time of the call, the time until the disk was free, and the
// longest put until then. Run it with -benchtime=1x.
func BenchmarkDeleteBucket(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		deleteBucket(b, b.TempDir(), *deleteKeys)
		b.StartTimer()
	}
}

func deleteBucket(b *testing.B, dir string, keys int) {
	s, err := bucket.Open(dir, bucket.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	bk := createBucket(b, s, kv.Config{Bucket: "bench"})
	submitAll(b, s, bk, kv.MutatePut, keys)
	segments := filepath.Join(dir, "seg")
	before := diskUsed(b, segments)
	var call time.Duration
	measureCall(b, s, func() error {
		start := time.Now()
		err := s.DeleteBucket(ctx, "bench")
		call = time.Since(start)
		for err == nil && diskUsed(b, segments) > before/10 { // the rest belongs to the other bucket
			<-time.After(10 * time.Millisecond)
		}
		return err
	})
	b.ReportMetric(call.Seconds()*1e3, "call-ms")
}
