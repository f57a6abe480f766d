package segment

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"testing"

	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// A decoded record encodes to the same bytes again. If a flag is set, the input's checksums
// are corrected first, so that the code after the checks of the checksums is reached
// too.
func FuzzRecordDecode(f *testing.F) {
	for _, r := range sampleRecords() {
		if sizeOf(&r) < pageSize {
			f.Add(testSeed.AppendRecord(nil, &r), false)
			f.Add(testSeed.AppendRecord(nil, &r), true)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, sums bool) {
		if sums && len(b) >= recordFixedSize {
			b = bytes.Clone(b)
			resealAny(b)
		}
		head, size, err := testSeed.DecodeHeader(b)
		r, n, bodyErr := testSeed.DecodeRecord(b)
		if bodyErr != nil && !errors.Is(bodyErr, kv.ErrCorrupt) && !errors.Is(bodyErr, kv.ErrVersion) || err != nil && bodyErr == nil {
			t.Fatalf("header %v, record %v", err, bodyErr)
		}
		if bodyErr != nil {
			return
		}
		if again := testSeed.AppendRecord(nil, &r); n != size || !bytes.Equal(again, b[:n]) || n != sizeOf(&r) {
			t.Fatalf("decoded %d bytes as %+v, encoded as %x", n, r, again)
		}
		if r.Headers, r.Value = nil, nil; !equal(head, r) {
			t.Fatalf("header is %+v, record %+v", head, r)
		}
	})
}

// resealAny corrects the checksums of arbitrary bytes, if their lengths are
// possible.
func resealAny(b []byte) {
	head := headSize(b[recordKind], b[recordFlags], int(le.Uint16(b[recordKeyLen:])))
	if head > len(b) {
		return
	}
	size := head + int(le.Uint32(b[recordValueLen:]))
	if rest := b[recordFixedSize+8*int(b[recordFlags]&flagDeadline):]; b[recordFlags]&flagHeaders != 0 && len(rest) >= 4 {
		size += int(le.Uint32(rest))
	}
	if size = align(size); size <= len(b) {
		le.PutUint64(b[recordBodySum:], testSeed.sum(b[head:size]))
	}
	le.PutUint64(b[recordHeadSum:], testSeed.sum(b[recordBodySum:head]))
}

// For any bytes of a page, the decoded entries are in range and in order. If all entries can be
// decoded, they encode to a page of the same entries.
func FuzzIndexPage(f *testing.F) {
	entries := sampleEntries()[:5]
	body := bodyOf(entries)
	f.Add(body, uint16(5), uint16(336/8))
	f.Add(body[:9], uint16(1), uint16(64/8))
	f.Add([]byte{1, 8, 0, 2, 0, 0, 1, 'k'}, uint16(1), uint16(64/8))
	f.Add([]byte{1 | entryFlags, flagFirst, 8, 0, 2, 0, 0, 1, 'k'}, uint16(1), uint16(64/8))
	f.Fuzz(func(t *testing.T, body []byte, count, length uint16) {
		end := HeaderSize + int64(length)*alignment
		got, err := entriesOf(body, uint64(count), end)
		if len(got) > int(count) {
			t.Fatalf("%d entries of %d", len(got), count)
		}
		for i, e := range got {
			inRecord := int(e.ValueLen)
			if e.File != 0 {
				inRecord = 16 // the file's number and the value's checksum
			}
			if i > 0 && e.Offset != got[i-1].Offset+int64(got[i-1].Size) || e.Offset < HeaderSize || e.Offset+int64(e.Size) > end ||
				len(e.Key) == 0 || len(e.Key) > maxKeySize || e.Size%alignment != 0 || int(e.Size) < recordFixedSize+len(e.Key)+inRecord ||
				e.Lost && e.ValueLen > 0 || e.Op == Erase && (e.First || e.Lost) {
				t.Fatalf("entry %d is %+v", i, e)
			}
		}
		if err != nil && !errors.Is(err, kv.ErrCorrupt) && !errors.Is(err, kv.ErrVersion) {
			t.Fatal(err)
		}
		if err != nil || len(got) == 0 {
			return
		}
		if again, err := entriesOf(bodyOf(got), uint64(count), end); err != nil || !reflect.DeepEqual(again, got) {
			t.Fatalf("decoded %+v, and again %+v, %v", got, again, err)
		}
	})
}

// For any content of a file, Walk and Entries end, and return nothing that was
// not written.
func FuzzSegmentWalk(f *testing.F) {
	f.Add(uint16(70), []byte{1}, uint16(0))
	f.Add(uint16(64), make([]byte, 300), uint16(200))
	f.Add(uint16(4096), bytes.Repeat([]byte("kvdINDX\n"), 20), uint16(4096))
	f.Add(uint16(280), []byte("kvdINDX\n\x1f\x57"), uint16(8192))
	x := sampleSegment(f, memOptions(f))
	sound := x.bytes()
	f.Fuzz(func(t *testing.T, at uint16, garbage []byte, copyFrom uint16) {
		b := bytes.Clone(sound)
		copy(b[int(at)%len(b):], garbage)
		moved := slices.Clone(sound[int(copyFrom)%len(b):]) // sound bytes in the wrong place
		copy(b[(int(at)+len(garbage))%len(b):], moved[:min(len(moved), len(garbage))])
		d := x.s.Desc()
		o := x.o
		mem := simdisk.New()
		o.FS, o.Dir = mem, "/"
		if err := mem.WriteFile("/"+FileName(testNumber), b); err != nil {
			t.Fatal(err)
		}
		s, err := Open(o, d)
		if err != nil {
			if !errors.Is(err, kv.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		y := fixture{t: t, o: o, s: s, records: x.records}
		listed, _ := y.list()
		walked, _, _ := y.walk()
		for _, e := range slices.Concat(listed, walked) {
			// Sound bytes in the wrong place are still a valid record: they do not contain
			// their place.
			if !slices.ContainsFunc(x.entries, func(w Entry) bool {
				return w.Revision == e.Revision && w.Size == e.Size && bytes.Equal(w.Key, e.Key)
			}) {
				t.Fatalf("found %+v", e)
			}
		}
		<-s.Retire()
	})
}
