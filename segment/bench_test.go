package segment

import (
	"fmt"
	"testing"

	"kvd/kv"
)

func benchRecord(valueLen int) Record {
	return Record{BucketID: testBucket, Revision: 42, Floor: 41, Created: 1790000000000000000, Op: Put,
		Key: []byte("service.eu.00042"), Value: make([]byte, valueLen)}
}

func BenchmarkAppendRecord(b *testing.B) {
	r := benchRecord(128)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = testSeed.AppendRecord(buf[:0], &r)
	}
}

func BenchmarkDecodeRecord(b *testing.B) {
	r := benchRecord(128)
	buf := testSeed.AppendRecord(nil, &r)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := testSeed.DecodeRecord(buf); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAddEntry(b *testing.B) {
	r := benchRecord(128)
	e := entryOf(&r, HeaderSize)
	var p pending
	b.ReportAllocs()
	for b.Loop() {
		if p.length > 32<<20 {
			p = pending{}
		}
		e.Revision++
		p.add(&e)
	}
}

// BenchmarkRead measures a read of a value in the page cache: pin, copy, both
// checksums, unpin.
func BenchmarkRead(b *testing.B) {
	for _, size := range []int{128, 1024, 64 << 10} {
		b.Run(fmt.Sprintf("value=%d", size), func(b *testing.B) {
			x := create(b, osOptions(b))
			r := benchRecord(size)
			x.append(r)
			e, key := x.entries[0], string(r.Key)
			buf := make([]byte, 0, e.Size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				x.s.Pin()
				if _, _, err := x.s.Read(buf, e.Offset, e.Size, key, e.Revision); err != nil {
					b.Fatal(err)
				}
				x.s.Unpin()
			}
		})
	}
}

// millionEntries returns a segment of a million records without values.
func millionEntries(b *testing.B) *fixture {
	o := osOptions(b)
	s, err := Create(o, testNumber, testBucket, 256<<20)
	if err != nil {
		b.Fatal(err)
	}
	x := &fixture{t: b, o: o, s: s}
	b.Cleanup(func() { <-x.s.Retire() })
	const n, group = 1_000_000, 1000
	var buf []byte
	for i := 0; i < n; i += group {
		buf = buf[:0]
		records := make([]Record, group)
		for j := range records {
			rev := kv.Revision(i + j + 1)
			records[j] = Record{BucketID: testBucket, Revision: rev, Floor: rev, Created: int64(rev) * 12345, Op: Put, Key: fmt.Appendf(nil, "service.%08d", rev)}
			buf = testSeed.AppendRecord(buf, &records[j])
		}
		if err := s.Reserve(int64(len(buf)), group*int64(EntryBound(16, false))); err != nil {
			b.Fatal(err)
		}
		start, err := s.Append(buf)
		if err != nil {
			b.Fatal(err)
		}
		offset := start
		for j := range records {
			e := entryOf(&records[j], offset)
			e.HeadSum = HeadSum(buf[offset-start:])
			s.AddEntry(&e)
			offset += int64(e.Size)
		}
	}
	x.index()
	x.seal()
	return x
}

// BenchmarkEntries opens a segment of a million records: from its index block, or
// by walking the records, because the block is lost.
func BenchmarkEntries(b *testing.B) {
	x := millionEntries(b)
	d := x.s.Desc()
	for _, name := range []string{"index", "walk"} {
		b.Run(name, func(b *testing.B) {
			damaged := func(e *kv.CorruptError) { b.Fatal(e) }
			if name == "walk" {
				x.write(d.LastIndex, make([]byte, d.Size-d.LastIndex))
				damaged = func(*kv.CorruptError) {}
			}
			s, err := Open(x.o, d)
			if err != nil {
				b.Fatal(err)
			}
			n := 0
			for b.Loop() {
				n = 0
				if err := s.Entries(func(*Entry) error { n++; return nil }, damaged, func(h Hole) { b.Fatal(h.Err) }); err != nil {
					b.Fatal(err)
				}
			}
			if n != 1_000_000 {
				b.Fatalf("%d entries", n)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/entry")
			b.ReportMetric(float64(x.s.Size()-x.s.Desc().LastIndex)/float64(n), "B/entry")
			<-s.Retire()
		})
	}
}
