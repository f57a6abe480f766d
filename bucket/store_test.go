package bucket_test

import (
	"testing"

	"kvd/bucket"
	"kvd/kv"
	"kvd/kv/kvtest"
)

func TestConformance(t *testing.T) {
	kvtest.Run(t, kvtest.Harness{
		Open: func(t *testing.T) kv.Store {
			s, err := bucket.Open(t.TempDir(), bucket.Options{ReserveSize: -1, LogFileSize: 1 << 20})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = s.Close() })
			return s
		},
	})
}
