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
			t.Cleanup(func() { _ = s.Close() }) // the suite may have closed it
			return s
		},
		Differs: map[kvtest.Difference]string{
			kvtest.NoTTL:         "expiry is not built yet, and is refused rather than ignored",
			kvtest.NoCompression: "compression is not built yet, and is refused rather than ignored",
		},
	})
}
