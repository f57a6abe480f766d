package bench

import (
	"sync"
	"testing"
	"time"

	"kvd/kv"
)

// BenchmarkCheckpoint compares the latency of puts by 64 writers without checkpoints and
// with four checkpoints a second. That is about as often as the store would begin them
// under this load. Run it with -benchtime 150000x: that many puts do not make the store
// begin a checkpoint by itself.
func BenchmarkCheckpoint(b *testing.B) {
	for _, mode := range []string{"none", "running"} {
		b.Run("checkpoints="+mode, func(b *testing.B) {
			s := openStore(b, b.TempDir())
			bk := createBucket(b, s, kv.Config{Bucket: "bench"})
			keys := keys16(0, b.N)
			value := make([]byte, 128)
			stop := make(chan struct{})
			var wg sync.WaitGroup
			n := 0
			if mode == "running" {
				wg.Go(func() {
					for tick := time.NewTicker(250 * time.Millisecond); ; n++ {
						select {
						case <-stop:
							tick.Stop()
							return
						case <-tick.C:
						}
						if err := s.Checkpoint(ctx); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			times := crowd(b, 64, func(_, i int) {
				if _, err := bk.Put(ctx, keys[i], value); err != nil {
					b.Error(err)
				}
			})
			close(stop)
			wg.Wait()
			b.ReportMetric(float64(n), "checkpoints")
			reportLatency(b, times)
		})
	}
}
