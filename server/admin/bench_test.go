package admin_test

import (
	"testing"

	"kvd/bucket"
	"kvd/kv"
	"kvd/server/admin"
)

// BenchmarkGet is what counting adds to a read.
func BenchmarkGet(b *testing.B) {
	store, err := bucket.Open(b.TempDir(), bucket.Options{ReserveSize: -1})
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	for name, s := range map[string]kv.Store{"plain": store, "counted": admin.NewMetrics("", "").Observe(store)} {
		b.Run(name, func(b *testing.B) {
			if _, err := s.CreateBucket(ctx, kv.Config{Bucket: "b"}); err != nil {
				b.Fatal(err)
			}
			bk, err := s.Bucket(ctx, "b")
			if err != nil {
				b.Fatal(err)
			}
			if _, err := bk.PutString(ctx, "k", "value"); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				var buf [1024]byte
				for pb.Next() {
					if _, _, err := bk.GetAppend(ctx, buf[:0], "k"); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
