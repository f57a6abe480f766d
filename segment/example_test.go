package segment_test

import (
	"fmt"
	"log"

	"kvd/internal/vfs/simdisk"
	"kvd/kv"
	"kvd/segment"
)

// A record and its index block are written, and the record is read from the sealed file.
func Example() {
	o := segment.Options{FS: simdisk.New(), Dir: "/", Seed: 0x5eed}
	s, err := segment.Create(o, 1, 7, 1<<20)
	if err != nil {
		log.Fatal(err)
	}

	record := o.Seed.AppendRecord(nil, &segment.Record{
		BucketID: 7, Revision: 1, Floor: 1, Created: 1, Op: segment.Put,
		Key: []byte("greeting"), Value: []byte("hello"),
	})
	if err := s.Reserve(int64(len(record)), int64(segment.EntryBound(len("greeting"), false))); err != nil {
		log.Fatal(err)
	}
	offset, err := s.Append(record)
	if err != nil {
		log.Fatal(err)
	}
	s.AddEntry(&segment.Entry{
		Key: []byte("greeting"), Revision: 1, Floor: 1, Created: 1, Op: segment.Put,
		Offset: offset, Size: uint32(len(record)), ValueLen: uint32(len("hello")),
	})
	if block, ok := s.BeginIndex(); ok {
		if err := s.WriteIndex(block); err != nil {
			log.Fatal(err)
		}
	}
	if err := s.Seal(); err != nil {
		log.Fatal(err)
	}

	damaged := func(e *kv.CorruptError) { log.Print(e) }
	err = s.Entries(func(e *segment.Entry) error {
		s.Pin()
		defer s.Unpin()
		r, _, err := s.Read(nil, e.Offset, e.Size, string(e.Key), e.Revision)
		fmt.Printf("%v %s at revision %d: %s\n", r.Op, r.Key, r.Revision, r.Value)
		return err
	}, damaged, nil)
	if err != nil {
		log.Fatal(err)
	}
	<-s.Retire()
	// Output: PUT greeting at revision 1: hello
}
