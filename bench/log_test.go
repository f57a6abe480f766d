package bench

import (
	"fmt"
	"testing"

	"kvd/kv"
	"kvd/kv/msglog"
)

// logBatch is the number of messages that a client of a log has in flight.
const logBatch = 256

// BenchmarkAppend appends messages to a log: each value gets a new key. It compares this
// with puts whose keys the caller makes.
func BenchmarkAppend(b *testing.B) {
	for name, op := range map[string]kv.MutationOp{"append": msglog.Append, "put": kv.MutatePut} {
		for _, storage := range []kv.Storage{kv.FileStorage, kv.MemoryStorage} {
			b.Run(fmt.Sprintf("op=%s/storage=%v", name, storage), func(b *testing.B) {
				s := openStore(b, b.TempDir())
				bk := createBucket(b, s, kv.Config{Bucket: "bench", Kind: msglog.Kind, Storage: storage})
				batch := make([]kv.Mutation, logBatch)
				for i := range batch {
					batch[i] = kv.Mutation{Bucket: "bench", Op: op, Key: "orders.new", Value: smallValue}
				}
				var key []byte
				b.ReportAllocs()
				for n := 0; b.Loop(); n += logBatch {
					for i := range batch {
						if op == kv.MutatePut {
							key = msglog.AppendSuffix(append(key[:0], "orders.new."...), kv.Revision(n+i+1))
							batch[i].Key = string(key)
						}
					}
					if err := s.Submit(ctx, batch); err != nil {
						b.Fatal(err)
					}
				}
				b.StopTimer()
				st, err := bk.Status(ctx)
				if err != nil || st.Values != uint64(b.N)*logBatch {
					b.Fatalf("%d records, %v", st.Values, err)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/logBatch, "ns/message")
			})
		}
	}
}

// BenchmarkTrim removes the oldest message of a log of ten thousand messages, after a number
// of earlier removals. Its other case removes all messages at once; there b.N counts the
// messages.
func BenchmarkTrim(b *testing.B) {
	const left = 10_000
	for _, dropped := range []int{0, 1_000_000} {
		for _, storage := range []kv.Storage{kv.FileStorage, kv.MemoryStorage} {
			b.Run(fmt.Sprintf("of=one/dropped=%d/storage=%v", dropped, storage), func(b *testing.B) {
				s := openStore(b, b.TempDir())
				bk := createBucket(b, s, kv.Config{Bucket: "bench", Kind: msglog.Kind, Storage: storage})
				submitAll(b, s, bk, msglog.Append, dropped+left+b.N)
				if _, err := bk.Trim(ctx, 0, uint64(left+b.N), 0); err != nil {
					b.Fatal(err)
				}
				b.ResetTimer()
				for n := b.N - 1; n >= 0; n-- {
					if went, err := bk.Trim(ctx, 0, uint64(left+n), 0); went != 1 || err != nil {
						b.Fatal(went, err)
					}
				}
			})
		}
	}
	b.Run("of=many", func(b *testing.B) {
		s := openStore(b, b.TempDir())
		bk := createBucket(b, s, kv.Config{Bucket: "bench", Kind: msglog.Kind})
		submitAll(b, s, bk, msglog.Append, b.N)
		b.ResetTimer()
		if went, err := bk.Trim(ctx, kv.Revision(b.N)+1, 0, 0); went != uint64(b.N) || err != nil {
			b.Fatal(went, err)
		}
	})
}
