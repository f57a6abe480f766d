package repair

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"kvd/bucket"
	"kvd/kv"
)

// BenchmarkRepair repairs a store of 64 MiB on the machine's files: what it costs to read and
// judge it (into=false), and to copy it (into=true).
func BenchmarkRepair(b *testing.B) {
	const records, size = 60_000, 1024
	from := b.TempDir()
	s, err := bucket.Open(from, bucket.Options{ReserveSize: -1})
	check(b, err)
	c, err := s.CreateBucket(b.Context(), kv.Config{Bucket: "b"})
	check(b, err)
	r := rand.New(rand.NewPCG(1, 1))
	value := make([]byte, size)
	var mutations []kv.Mutation
	for n := range records {
		for i := range value {
			value[i] = byte(r.Uint32())
		}
		mutations = append(mutations, kv.Mutation{Bucket: c.Name(), Op: kv.MutatePut, Key: fmt.Sprintf("key%08d", n), Value: append([]byte(nil), value...)})
	}
	check(b, s.Submit(b.Context(), mutations))
	for i := range mutations {
		check(b, mutations[i].Err)
	}
	check(b, s.Close())
	for _, into := range []bool{false, true} {
		b.Run(fmt.Sprintf("into=%v", into), func(b *testing.B) {
			b.SetBytes(records * size)
			b.ReportAllocs()
			for b.Loop() {
				name := ""
				if into {
					name = filepath.Join(b.TempDir(), "new")
				}
				report, err := Store(b.Context(), from, name, Options{})
				if err != nil || report.Buckets[0].Records != records {
					b.Fatalf("%+v, %v", report, err)
				}
			}
		})
	}
}
