package segment

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"path"
	"reflect"
	"slices"
	"testing"

	"kvd/internal/vfs"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// inspected is what Inspect tells of a file.
type inspected struct {
	header  FileHeader
	records []FileRecord
	values  []string // of the records; their errors
	pages   []FilePage
	gaps    []FileGap // those that are not zero
	err     error
}

func inspect(t testing.TB, fsys vfs.FS, file string, known FileHeader) (in inspected) {
	t.Helper()
	at := int64(0)
	next := func(from, to int64) {
		if from < at || to < from {
			t.Fatalf("%s: a part from %d to %d behind one that ends at %d", file, from, to, at)
		}
		at = to
	}
	in.err = Inspect(fsys, file, known, Inspection{
		Header: func(h *FileHeader) error { in.header = *h; return nil },
		Record: func(r *FileRecord) error {
			next(r.Offset, r.Offset+int64(r.Size))
			_, value, err := r.ReadValue()
			if err != nil {
				value = []byte(err.Error())
			}
			own := *r
			own.Key, own.walker = bytes.Clone(r.Key), nil
			in.records, in.values = append(in.records, own), append(in.values, string(value))
			return nil
		},
		Page: func(p *FilePage) error {
			next(p.Offset, p.Offset+pageSize)
			in.pages = append(in.pages, *p)
			return nil
		},
		Gap: func(g *FileGap) error {
			next(g.From, g.To)
			if !g.Zeros {
				in.gaps = append(in.gaps, *g)
			}
			return nil
		},
	})
	return in
}

func TestInspectTellsRecordsAndPages(t *testing.T) {
	x := sampleSegment(t, memOptions(t))
	b := x.bytes()
	in := inspect(t, x.o.FS, x.s.path, FileHeader{})
	if in.err != nil || in.header.Err != nil || in.header.StoreID != x.o.StoreID || in.header.Seed != testSeed || in.header.BucketID != testBucket || in.header.Number != testNumber {
		t.Errorf("header %+v, %v", in.header, in.err)
	}
	var named []Entry
	for _, p := range in.pages {
		if p.Err != nil || p.Records != uint64(len(p.Entries)) {
			t.Errorf("page %+v", p)
		}
		named = append(named, p.Entries...)
	}
	if len(in.gaps) > 0 || len(in.records) != len(x.entries) || len(named) != len(x.entries) {
		t.Fatalf("%d records, %d entries, gaps %+v; want %d", len(in.records), len(named), in.gaps, len(x.entries))
	}
	for i, r := range in.records {
		want := x.records[r.Offset]
		value, err := want.AppendValue(nil)
		if err != nil {
			t.Fatal(err)
		}
		if r.Damage != nil || r.Stored != r.Computed || r.HeadSum != HeadSum(b[r.Offset:]) || in.values[i] != string(value) || r.ValueLen != len(value) || r.HeadersLen != len(want.Headers) {
			t.Errorf("record %+v with value %q, want %+v", r, in.values[i], want)
		}
		if e := named[i]; e.Offset != r.Offset || int(e.Size) != r.Size || !bytes.Equal(e.Key, r.Key) || e.Revision != r.Revision {
			t.Errorf("entry %+v of record %+v", e, r)
		}
	}
}

// Damage takes what it hits. A header with a damaged field leads to the records as long as the
// caller knows that field, or it is not one that the records need.
func TestInspectOfADamagedFile(t *testing.T) {
	x := sampleSegment(t, memOptions(t))
	want := inspect(t, x.o.FS, x.s.path, FileHeader{})
	disk := x.o.FS.(*simdisk.Disk)
	flip := func(at int64) *simdisk.Disk {
		t.Helper()
		damaged := disk.Clone()
		if err := damaged.Corrupt(x.s.path, at, 1, func(b []byte) { b[0] ^= 1 }); err != nil {
			t.Fatal(err)
		}
		return damaged
	}
	for at := range int64(HeaderSize) {
		in := inspect(t, flip(at), x.s.path, FileHeader{BucketID: testBucket, Seed: testSeed})
		if errors.Is(in.err, kv.ErrVersion) || !errors.Is(in.header.Err, kv.ErrCorrupt) || !reflect.DeepEqual(in.records, want.records) {
			t.Fatalf("byte %d: header %+v, %d records, %v", at, in.header, len(in.records), in.err)
		}
		if lone := inspect(t, flip(at), x.s.path, FileHeader{}); at < fileBucketID && len(lone.records) != len(want.records) {
			t.Errorf("byte %d: %d records without a manifest", at, len(lone.records))
		}
	}
	r := want.records[1]
	in := inspect(t, flip(r.Offset), x.s.path, FileHeader{})
	if len(in.records) != len(want.records)-1 || len(in.gaps) != 1 || in.gaps[0].Seems != "record" || in.gaps[0].Stored == in.gaps[0].Computed {
		t.Errorf("a flipped head: %d records, gaps %+v", len(in.records), in.gaps)
	}
	in = inspect(t, flip(r.Offset+int64(r.Size)-1), x.s.path, FileHeader{})
	if len(in.records) != len(want.records) || in.records[1].Damage == nil || in.records[1].Stored == in.records[1].Computed || in.records[2].Damage != nil {
		t.Errorf("a flipped value: %+v", in.records)
	}
	in = inspect(t, flip(want.pages[0].Offset+100), x.s.path, FileHeader{})
	if len(in.pages) != len(want.pages)-1 || len(in.gaps) != 1 || in.gaps[0].Seems != "index page" || in.gaps[0].Stored == in.gaps[0].Computed {
		t.Errorf("a flipped page: %d pages, gaps %+v", len(in.pages), in.gaps)
	}
}

func TestInspectValue(t *testing.T) {
	o := memOptions(t)
	value := bytes.Repeat([]byte("large"), 2000)
	if err := CreateValueFile(o, 7); err != nil {
		t.Fatal(err)
	}
	file, err := WriteValue(o, 7, testBucket, value)
	if err != nil {
		t.Fatal(err)
	}
	name := path.Join(o.Dir, ValueFileName(7))
	v, err := InspectValue(o.FS, name, 0)
	if err != nil || v.Err != nil || v.ValueErr != nil || v.ValueSum != file.Sum || v.ValueHas != file.Sum || v.Value != uint32(len(value)) || v.BucketID != testBucket || v.Number != 7 {
		t.Errorf("%+v, %v", v, err)
	}
	damage := func(at int64) FileValue {
		t.Helper()
		damaged := o.FS.(*simdisk.Disk).Clone()
		if err := damaged.Corrupt(name, at, 1, func(b []byte) { b[0] ^= 1 }); err != nil {
			t.Fatal(err)
		}
		v, err := InspectValue(damaged, name, o.Seed)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if v := damage(20); !errors.Is(v.Err, kv.ErrCorrupt) || v.ValueErr != nil {
		t.Errorf("a damaged header: %+v", v)
	}
	if v := damage(valueHeaderSize + 20); v.Err != nil || !errors.Is(v.ValueErr, kv.ErrCorrupt) || v.ValueHas == v.ValueSum {
		t.Errorf("a damaged value: %+v", v)
	}
	if v := damage(valueLength + 3); v.ValueErr == nil {
		t.Errorf("an impossible length: %+v", v)
	}
}

// A reader that does not know the seed sees the same record.
func TestDecodeUnverified(t *testing.T) {
	x := sampleSegment(t, memOptions(t))
	b := x.bytes()
	for _, e := range x.entries {
		want, size, err := testSeed.DecodeRecord(b[e.Offset:])
		if err != nil {
			t.Fatal(err)
		}
		got, n, err := DecodeUnverified(b[e.Offset:])
		if err != nil || n != size || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %d bytes, %v; want %+v, %d bytes", got, n, err, want, size)
		}
		for cut := range size {
			if _, _, err := DecodeUnverified(b[e.Offset:][:cut]); !errors.Is(err, kv.ErrCorrupt) {
				t.Fatalf("cut at %d: %v", cut, err)
			}
		}
	}
}

// FuzzInspect inspects files of any bytes, and a sound file with some of its bytes replaced:
// parts never overlap, none is beyond the end, and no record is found that was not written.
func FuzzInspect(f *testing.F) {
	x := sampleSegment(f, memOptions(f))
	sound := x.bytes()
	f.Add(sound, uint64(0))
	f.Add([]byte(fileMagic), uint64(1))
	f.Add(bytes.Repeat([]byte(pageMagic), 20), uint64(2))
	f.Fuzz(func(t *testing.T, b []byte, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 0))
		mixed := slices.Clone(sound)
		copy(mixed[r.IntN(len(mixed)):], b)
		for i, content := range [][]byte{b, mixed} {
			disk := simdisk.New()
			for _, name := range []string{"/" + FileName(testNumber), "/" + ValueFileName(testNumber)} {
				if err := disk.WriteFile(name, content); err != nil {
					t.Fatal(err)
				}
			}
			in := inspect(t, disk, "/"+FileName(testNumber), FileHeader{BucketID: testBucket, Seed: testSeed})
			if in.err != nil && !errors.Is(in.err, kv.ErrVersion) {
				t.Fatal(in.err)
			}
			for _, found := range in.records {
				if i == 1 && !slices.ContainsFunc(x.entries, func(w Entry) bool { return HeadSum(sound[w.Offset:]) == found.HeadSum }) && !bytes.Contains(b, found.Key) {
					t.Fatalf("found %+v", found)
				}
			}
			if _, err := InspectValue(disk, "/"+ValueFileName(testNumber), 0); err != nil {
				t.Fatal(err)
			}
			_, _, _ = DecodeUnverified(content)
		}
	})
}
