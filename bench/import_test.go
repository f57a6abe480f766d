package bench

import (
	"fmt"
	"testing"
	"time"

	"kvd/kv"
	"kvd/kv/digest"
)

// BenchmarkImport measures the import of a bucket of 1 M records of 128 B, from its first record to
// its commit, with calls of 4 MiB.
func BenchmarkImport(b *testing.B) {
	const records, size, batch = 1 << 20, 128, 4 << 20 / 128
	keys := keys16(0, records)
	value := make([]byte, size)
	created := time.Unix(1_700_000_000, 0)
	var sum kv.Digest
	list := make([]kv.Entry, 0, batch)
	s := openStore(b, b.TempDir())
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		config := kv.Config{Bucket: fmt.Sprintf("b%d", n)}
		i, err := s.ImportBucket(ctx, config, 0)
		if err != nil {
			b.Fatal(err)
		}
		sum = kv.Digest{}
		for r := 0; r < records; r += len(list) {
			list = list[:0]
			for _, key := range keys[r:min(r+batch, records)] {
				list = append(list, kv.Entry{Key: key, Revision: kv.Revision(r + len(list) + 1), Created: created, Operation: kv.Put, Value: value})
				sum = sum.Add(digest.OfEntry(&list[len(list)-1]))
			}
			if err := i.Write(ctx, list); err != nil {
				b.Fatal(err)
			}
		}
		if err := i.Commit(ctx, sum); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := s.DeleteBucket(ctx, config.Bucket); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/records, "ns/record")
}
