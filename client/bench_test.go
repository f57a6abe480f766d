package client

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"kvd/kv"
)

const benchKeys = 1024

// benchBucket returns a bucket of a server on loopback that holds benchKeys keys
// with values of 128 bytes.
func benchBucket(b *testing.B) (*Bucket, []string) {
	b.Helper()
	s := serveDir(b, b.TempDir())
	c := s.dial(b, Options{})
	b.Cleanup(func() {
		closeClient(b, c)
		s.stop()
		if err := s.close(); err != nil {
			b.Error(err)
		}
	})
	bucket := newBucket(b, c, kv.Config{Bucket: "b"})
	keys := make([]string, benchKeys)
	ms := make([]kv.Mutation, benchKeys)
	for i := range keys {
		keys[i] = fmt.Sprintf("service.eu.key%d", i)
		ms[i] = kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: keys[i], Value: make([]byte, 128)}
	}
	if err := c.Submit(b.Context(), ms); err != nil {
		b.Fatal(err)
	}
	return bucket, keys
}

// share divides the calls of a benchmark among callers.
func share(b *testing.B, callers int, call func(caller, n int) error) {
	b.ReportAllocs()
	b.ResetTimer()
	var next atomic.Int64
	var done sync.WaitGroup
	for i := range callers {
		done.Go(func() {
			for n := int(next.Add(1)); n <= b.N; n = int(next.Add(1)) {
				if err := call(i, n); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	done.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}

func BenchmarkGet(b *testing.B) {
	for _, callers := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("size=128/callers=%d", callers), func(b *testing.B) {
			bucket, keys := benchBucket(b)
			buffers := make([][]byte, callers)
			share(b, callers, func(caller, n int) error {
				got, _, err := bucket.GetAppend(b.Context(), buffers[caller][:0], keys[n%benchKeys])
				if buffers[caller] = got; err == nil && len(got) != 128 {
					err = fmt.Errorf("a value of %d bytes", len(got))
				}
				return err
			})
		})
	}
}

func BenchmarkPut(b *testing.B) {
	for _, callers := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("size=128/sync=always/callers=%d", callers), func(b *testing.B) {
			bucket, keys := benchBucket(b)
			value := make([]byte, 128)
			share(b, callers, func(_, n int) error {
				_, err := bucket.Put(b.Context(), keys[n%benchKeys], value)
				return err
			})
			if st, err := bucket.Status(b.Context()); err != nil || uint64(st.Revision) != uint64(benchKeys+b.N) {
				b.Fatalf("revision %d after %d puts, %v", st.Revision, b.N, err)
			}
		})
	}
}

func BenchmarkSubmit(b *testing.B) {
	const together = 256
	bucket, keys := benchBucket(b)
	ms := make([]kv.Mutation, together)
	for i := range ms {
		ms[i] = kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: keys[i], Value: make([]byte, 128)}
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := bucket.client.Submit(b.Context(), ms); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*together/b.Elapsed().Seconds(), "puts/s")
}
