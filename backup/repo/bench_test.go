package repo

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"kvd/backup/blob"
	"kvd/bucket"
	"kvd/kv"
)

// BenchmarkBase measures a base in a directory after a hundredth of the keys was written again: how much
// of the store it reads in a second, and which part of a whole base it uploads.
func BenchmarkBase(b *testing.B) {
	const keys = 200_000
	value := func(i int) string { return fmt.Sprintf("%08d ", i) + text(i%251, 24) + text(7, 480) + "\n" }
	s, err := bucket.Open(filepath.Join(b.TempDir(), "db"), bucket.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	bk, err := s.CreateBucket(b.Context(), kv.Config{Bucket: "b", Sync: kv.SyncInterval})
	if err != nil {
		b.Fatal(err)
	}
	put := func(i int) {
		if _, err := bk.PutString(b.Context(), fmt.Sprintf("key.%08d", i), value(i)); err != nil {
			b.Fatal(err)
		}
	}
	for i := range keys {
		put(i)
	}
	place, err := blob.OpenDir(filepath.Join(b.TempDir(), "repo"))
	if err != nil {
		b.Fatal(err)
	}
	defer place.Close()
	first, err := Write(b.Context(), place, s, bucket.BackupOptions{})
	if err != nil {
		b.Fatal(err)
	}
	var read, uploaded int64
	random := rand.New(rand.NewPCG(1, 1))
	for b.Loop() {
		b.StopTimer()
		for range keys / 100 {
			put(random.IntN(keys))
		}
		b.StartTimer()
		w, err := Write(b.Context(), place, s, bucket.BackupOptions{})
		if err != nil {
			b.Fatal(err)
		}
		read, uploaded = read+w.Report.Bytes, uploaded+w.NewBytes
	}
	b.SetBytes(read / int64(b.N))
	b.ReportMetric(100*float64(uploaded)/float64(b.N)/float64(first.Bytes), "%uploaded")
	b.ReportMetric(first.Elapsed.Seconds(), "first-s")
	b.ReportMetric(float64(first.Report.Bytes)/first.Elapsed.Seconds()/1e6, "first-MB/s")
	if info, err := os.Stat(place.String()); err != nil || !info.IsDir() {
		b.Error(err)
	}
}
