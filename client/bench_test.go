package client

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"kvd/bucket"
	"kvd/kv"
)

const benchKeys = 1024

// benchBucket returns a bucket of a server on loopback that holds benchKeys keys
// with values of 128 bytes.
func benchBucket(b *testing.B) (*Bucket, []string) {
	b.Helper()
	return benchServer(b, serveDir(b, b.TempDir()))
}

func benchServer(b *testing.B, s *realServer) (*Bucket, []string) {
	b.Helper()
	c := s.dial(b, Options{})
	b.Cleanup(func() {
		closeClient(b, c)
		s.stop()
		if err := s.close(); err != nil {
			b.Error(err)
		}
	})
	remote := newBucket(b, c, kv.Config{Bucket: "b"})
	keys := make([]string, benchKeys)
	ms := make([]kv.Mutation, benchKeys)
	for i := range keys {
		keys[i] = fmt.Sprintf("service.eu.key%d", i)
		ms[i] = kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: keys[i], Value: make([]byte, 128)}
	}
	if err := c.Submit(b.Context(), ms); err != nil {
		b.Fatal(err)
	}
	return remote, keys
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
			remote, keys := benchBucket(b)
			buffers := make([][]byte, callers)
			share(b, callers, func(caller, n int) error {
				got, _, err := remote.GetAppend(b.Context(), buffers[caller][:0], keys[n%benchKeys])
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
			remote, keys := benchBucket(b)
			value := make([]byte, 128)
			share(b, callers, func(_, n int) error {
				_, err := remote.Put(b.Context(), keys[n%benchKeys], value)
				return err
			})
			if st, err := remote.Status(b.Context()); err != nil || uint64(st.Revision) != uint64(benchKeys+b.N) {
				b.Fatalf("revision %d after %d puts, %v", st.Revision, b.N, err)
			}
		})
	}
}

// BenchmarkPutClients spreads the callers over several clients, and so over several
// connections. The clients and the server share the processors.
func BenchmarkPutClients(b *testing.B) {
	for _, callers := range []int{16, 256} {
		for _, clients := range []int{1, 2, 4} {
			b.Run(fmt.Sprintf("callers=%d/clients=%d", callers, clients), func(b *testing.B) {
				var groups groupCounter
				store, err := bucket.Open(b.TempDir(), bucket.Options{Observer: &groups})
				if err != nil {
					b.Fatal(err)
				}
				first, keys := benchServer(b, serve(b, store, store.Close))
				handles := []kv.Bucket{first}
				for range clients - 1 {
					c, err := Dial(b.Context(), first.client.address, Options{})
					if err != nil {
						b.Fatal(err)
					}
					defer closeClient(b, c)
					handle, err := c.Bucket(b.Context(), "b")
					if err != nil {
						b.Fatal(err)
					}
					handles = append(handles, handle)
				}
				value := make([]byte, 128)
				before := groups.Load()
				share(b, callers, func(caller, n int) error {
					_, err := handles[caller%clients].Put(b.Context(), keys[n%benchKeys], value)
					return err
				})
				b.ReportMetric(float64(b.N)/float64(groups.Load()-before), "puts/group")
			})
		}
	}
}

// groupCounter counts the groups that the store commits.
type groupCounter struct{ atomic.Int64 }

func (c *groupCounter) Committed(bucket.Commit) { c.Add(1) }

func BenchmarkSubmit(b *testing.B) {
	const together = 256
	remote, keys := benchBucket(b)
	ms := make([]kv.Mutation, together)
	for i := range ms {
		ms[i] = kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: keys[i], Value: make([]byte, 128)}
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := remote.client.Submit(b.Context(), ms); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*together/b.Elapsed().Seconds(), "puts/s")
}

// BenchmarkGetHundred reads 100 keys: by 100 Gets, one after the other, and by one GetMany.
func BenchmarkGetHundred(b *testing.B) {
	kvs, keys := benchBucket(b)
	keys = keys[:100]
	b.Run("gets", func(b *testing.B) {
		for b.Loop() {
			for _, key := range keys {
				if _, err := kvs.Get(b.Context(), key); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run("many", func(b *testing.B) {
		for b.Loop() {
			for _, err := range kvs.GetMany(b.Context(), keys) {
				if err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
