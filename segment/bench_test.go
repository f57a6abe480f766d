package segment

import "testing"

func BenchmarkAppendRecord(b *testing.B) {
	r := Record{BucketID: 7, Revision: 42, Floor: 41, Created: 1, Op: Put, Key: make([]byte, 16), Value: make([]byte, 128)}
	buf := make([]byte, 0, 512)
	b.ReportAllocs()
	for b.Loop() {
		buf = Seed(5).AppendRecord(buf[:0], &r)
	}
}

func BenchmarkDecodeRecord(b *testing.B) {
	r := Record{BucketID: 7, Revision: 42, Floor: 41, Created: 1, Op: Put, Key: make([]byte, 16), Value: make([]byte, 128)}
	buf := Seed(5).AppendRecord(nil, &r)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := Seed(5).DecodeRecord(buf); err != nil {
			b.Fatal(err)
		}
	}
}
