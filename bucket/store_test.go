package bucket_test

import (
	"testing"
	"time"

	"kvd/bucket"
	"kvd/kv"
	"kvd/kv/kvtest"
)

func TestConformance(t *testing.T) {
	dirs := make(map[kv.Store]string)
	open := func(t *testing.T, dir string) kv.Store {
		s, err := bucket.Open(dir, bucket.Options{ReserveSize: -1, LogFileSize: 1 << 20})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() }) // the suite may have closed it
		dirs[s] = dir
		return s
	}
	kvtest.Run(t, kvtest.Harness{
		Open: func(t *testing.T) kv.Store { return open(t, t.TempDir()) },
		Reopen: func(t *testing.T, s kv.Store) kv.Store {
			if err := s.(*bucket.Store).Close(); err != nil {
				t.Fatal(err)
			}
			return open(t, dirs[s])
		},
		ShortestTTL: 20 * time.Millisecond,
	})
}
