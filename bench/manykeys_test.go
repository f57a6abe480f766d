package bench

import (
	"fmt"
	"testing"
	"time"

	"kvd/bucket"
	"kvd/kv"
	"kvd/kv/msglog"
)

// manyKeys is the number of keys that one call changes.
const manyKeys = 1_000_000

// BenchmarkManyKeys has one call change the records of a million keys while four closed-loop
// writers use another bucket. It reports the time of the call and the longest put during it.
// Run it with -benchtime=1x.
func BenchmarkManyKeys(b *testing.B) {
	for _, c := range []struct {
		name   string
		second kv.MutationOp // the second mutation of each key, after a put
		decide func(*bucket.Store, *bucket.Bucket) error
	}{
		{"of=markers", kv.MutateDelete, func(_ *bucket.Store, bk *bucket.Bucket) error { return bk.PurgeDeletes(ctx, -1) }},
		{"of=nothing", kv.MutatePut, func(_ *bucket.Store, bk *bucket.Bucket) error { return bk.PurgeDeletes(ctx, -1) }},
		{"of=history", kv.MutatePut, func(s *bucket.Store, bk *bucket.Bucket) error {
			_, err := s.UpdateBucket(ctx, kv.Config{Bucket: bk.Name(), History: 1})
			return err
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				s := openStore(b, b.TempDir())
				bk := createBucket(b, s, kv.Config{Bucket: "bench", History: 2})
				submitAll(b, s, bk, kv.MutatePut, manyKeys)
				submitAll(b, s, bk, c.second, manyKeys)
				measureCall(b, s, func() error { return c.decide(s, bk) })
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

// submitAll writes the first n keys.
func submitAll(b *testing.B, s *bucket.Store, bk *bucket.Bucket, op kv.MutationOp, n int) {
	const batch = 4096
	muts := make([]kv.Mutation, 0, batch)
	for i := 0; i < n; {
		muts = muts[:0]
		for ; i < n && len(muts) < batch; i++ {
			m := kv.Mutation{Bucket: bk.Name(), Op: op, Key: key16(i)}
			if op == kv.MutatePut || op == msglog.Append {
				m.Value = smallValue
			}
			muts = append(muts, m)
		}
		if err := s.Submit(ctx, muts); err != nil {
			b.Fatal(err)
		}
	}
}

var smallValue = make([]byte, 16)

// measureCall reports how long do takes. It also reports the latency of writers of another
// bucket during the call, and for comparison during three seconds without it.
func measureCall(b *testing.B, s *bucket.Store, do func() error) {
	others := createBucket(b, s, kv.Config{Bucket: "others"})
	quiet := beside(b, others, func() { <-time.After(3 * time.Second) })
	var took time.Duration
	busy := beside(b, others, func() {
		start := time.Now()
		if err := do(); err != nil {
			b.Fatal(err)
		}
		took = time.Since(start)
	})
	b.ReportMetric(took.Seconds(), "all-s")
	for _, c := range []struct {
		name  string
		times []time.Duration
	}{{"quiet", quiet}, {"", busy}} {
		if len(c.times) == 0 {
			continue
		}
		b.ReportMetric(c.times[len(c.times)-1].Seconds()*1e3, fmt.Sprint(c.name, "longest-ms"))
		b.ReportMetric(percentile(c.times, 99).Seconds()*1e3, fmt.Sprint(c.name, "p99-ms"))
	}
}
