package lineproto

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestTimesAreRFC3339(t *testing.T) {
	times := []time.Time{
		{},
		time.Unix(0, 0),
		time.Unix(0, 1),
		time.Unix(1, 500_000_000),
		time.Unix(1, 120_000_000),
		time.Unix(1, 999_999_999),
		time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC),
		time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(2024, 2, 29, 1, 2, 3, 40, time.FixedZone("", 3600)),
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	for range 10_000 {
		times = append(times, time.Unix(random.Int64N(1<<36), random.Int64N(1e9)))
	}
	for _, at := range times {
		got, want := string(appendTime(nil, at)), at.UTC().Format(time.RFC3339Nano)
		if got != want {
			t.Fatalf("seed %d: %q, want %q", seed, got, want)
		}
	}
}

func BenchmarkAppendTime(b *testing.B) {
	at := time.Date(2026, 11, 22, 18, 0, 0, 123_456_789, time.UTC)
	dst := make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		dst = appendTime(dst[:0], at)
	}
}
