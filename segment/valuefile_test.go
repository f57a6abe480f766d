package segment

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path"
	"reflect"
	"strings"
	"testing"

	"kvd/internal/vfs"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// putFile appends a record whose value is in the value file of that number.
func (x *fixture) putFile(key string, number uint64, value []byte, change func(*Record)) Record {
	x.t.Helper()
	file, err := createValue(x.o, number, testBucket, value)
	if err != nil {
		x.t.Fatal(err)
	}
	rev := kv.Revision(len(x.entries) + 1)
	r := Record{BucketID: testBucket, Revision: rev, Floor: rev, Created: int64(rev) * 1e9, Op: Put, First: true, Key: []byte(key), File: file}
	if change != nil {
		change(&r)
	}
	x.append(r)
	return r
}

// createValue writes a value to a new file.
func createValue(o Options, number, bucketID uint64, value []byte) (ValueFile, error) {
	if err := CreateValueFile(o, number); err != nil {
		return ValueFile{}, err
	}
	return WriteValue(o, number, bucketID, value)
}

func (x *fixture) valueFile(number uint64) string {
	return path.Join(x.o.Dir, ValueFileName(number))
}

func patterned(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

// A record with a value file is read like one that has its value, by every way to read it.
func TestValueFileReads(t *testing.T) {
	value := patterned(3*valueStep + 17)
	x := create(t, memOptions(t))
	x.put("small", "inline")
	x.putFile("large", 11, value, func(r *Record) { r.Headers, r.Deadline = []byte("headers"), 9e18 })
	x.putFile("least", 12, patterned(ValueFileMin), nil)
	x.index()
	x.put("tail", "unindexed")
	x.index()
	x.reopen()
	for i, want := range [][]byte{[]byte("inline"), value, patterned(ValueFileMin), []byte("unindexed")} {
		e := x.entries[i]
		x.s.Pin()
		r, buf, err := x.s.Read([]byte("mine"), e.Offset, e.Footprint(), string(e.Key), e.Revision)
		if err != nil || !bytes.Equal(r.Value, want) || r.File != (ValueFile{}) || string(buf[:4]) != "mine" {
			t.Errorf("%q: read %d bytes, %+v, %v", e.Key, len(r.Value), r.File, err)
		}
		head, size, _, err := x.s.ReadHeader(nil, e.Offset, e.Footprint(), e.Revision)
		if err != nil || size != len(want) || len(head.Value) > 0 || string(head.Key) != string(e.Key) {
			t.Errorf("%q: header says %d bytes, %v", e.Key, size, err)
		}
		stored, encoded, err := x.s.ReadStored(nil, e.Offset, e.Footprint(), string(e.Key), e.Revision)
		if err != nil || len(encoded) != int(e.Size) || stored.File.Number != e.File {
			t.Errorf("%q: stored %d bytes of %d, %v", e.Key, len(encoded), e.Size, err)
		}
		x.s.Unpin()
	}
	var c Scanner
	scanned := 0
	_, err := c.Scan(x.s, 0, func(offset int64, r *Record, size int) bool {
		want := x.entries[scanned]
		n := c.ValueSize()
		if err := c.Value(r); err != nil || offset != want.Offset || size != int(want.Size) || len(r.Value) != n || r.File.Number != 0 {
			t.Errorf("scanned %q at %d: %d bytes of %d, %v", r.Key, offset, len(r.Value), n, err)
		}
		if string(r.Key) == "large" && (!bytes.Equal(r.Value, value) || string(r.Headers) != "headers") {
			t.Error("scanned another value")
		}
		scanned++
		return true
	}, func(d *kv.CorruptError) { t.Error(d) })
	if err != nil || scanned != len(x.entries) {
		t.Errorf("scanned %d records, %v", scanned, err)
	}
	for _, way := range []string{"index blocks", "records"} {
		var got []Entry
		if way == "records" {
			x.write(x.s.Desc().LastIndex, []byte("damaged!"))
		}
		err := x.s.Entries(func(e *Entry) error { own := *e; own.Key = bytes.Clone(e.Key); got = append(got, own); return nil },
			func(*kv.CorruptError) {}, func(h Hole) { t.Errorf("hole %+v", h) })
		if err != nil || !reflect.DeepEqual(got, x.entries) {
			t.Errorf("by %s: %+v, %v; want %+v", way, got, err, x.entries)
		}
	}
}

// A compressed value may be in a file too.
func TestValueFileOfACompressedValue(t *testing.T) {
	plain := make([]byte, 64<<10) // half of it cannot be compressed
	random := rand.New(rand.NewPCG(1, 2))
	for i := range plain[:len(plain)/2] {
		plain[i] = byte(random.Uint32())
	}
	packed := Compress(plain)
	if len(packed) < ValueFileMin {
		t.Fatalf("%d bytes", len(packed))
	}
	x := create(t, memOptions(t))
	x.putFile("packed", 5, packed, func(r *Record) { r.Compressed, r.RawLen = true, uint32(len(plain)) })
	e := x.entries[0]
	x.s.Pin()
	defer x.s.Unpin()
	r, _, err := x.s.Read(nil, e.Offset, e.Footprint(), "packed", 1)
	if err != nil || !bytes.Equal(r.Value, plain) || r.Compressed {
		t.Errorf("read %d bytes, %v", len(r.Value), err)
	}
	if _, size, _, err := x.s.ReadHeader(nil, e.Offset, e.Footprint(), 1); size != len(plain) || err != nil {
		t.Errorf("header: %d, %v", size, err)
	}
	var c Scanner
	_, err = c.Scan(x.s, 0, func(_ int64, r *Record, _ int) bool {
		if n := c.ValueSize(); c.Value(r) != nil || n != len(plain) || !bytes.Equal(r.Value, plain) {
			t.Errorf("scanned %d bytes", len(r.Value))
		}
		return true
	}, func(d *kv.CorruptError) { t.Error(d) })
	if err != nil {
		t.Error(err)
	}
}

// Damage to any byte of a value file, and every shorter file, is an error of every way to read
// the value, and is found by Walk and Check. Of the header only these two read anything.
func TestValueFileDamage(t *testing.T) {
	x := create(t, memOptions(t))
	x.put("before", "1")
	x.putFile("large", 7, patterned(ValueFileMin+100), nil)
	x.put("after", "3")
	x.index()
	name, e := x.valueFile(7), x.entries[1]
	disk := x.o.FS.(*simdisk.Disk)
	sound, err := disk.ReadFile(name)
	if err != nil || len(sound) != valueHeaderSize+ValueFileMin+100 {
		t.Fatalf("%d bytes, %v", len(sound), err)
	}
	ways := func() (read, walked, checked error) {
		x.s.Pin()
		defer x.s.Unpin()
		_, buf, read := x.s.Read([]byte("mine"), e.Offset, e.Footprint(), "large", 2)
		if read != nil && string(buf) != "mine" {
			t.Errorf("an error leaves %d bytes", len(buf))
		}
		note := func(to *error) func(*kv.CorruptError) {
			return func(d *kv.CorruptError) {
				if d.File != name || !strings.Contains(d.Detail, `key "large", revision 2, bucket "my-kv": `) {
					t.Errorf("damage %v", d)
				}
				*to = d
			}
		}
		if err := x.s.Walk(0, x.s.Size(), func(_ int64, r *Record, _ int, ok bool) error {
			if ok != (string(r.Key) != "large" || walked == nil) {
				t.Errorf("%q: %t", r.Key, ok)
			}
			return nil
		}, note(&walked)); err != nil {
			t.Error(err)
		}
		var count Count
		if _, _, err := x.s.Check(0, x.s.Size(), 1<<20, WithValueFiles, &count, note(&checked)); err != nil || count.Records != 3 {
			t.Errorf("%+v, %v", count, err)
		}
		return read, walked, checked
	}
	if read, walked, checked := ways(); read != nil || walked != nil || checked != nil {
		t.Fatal(read, walked, checked)
	}
	expect := func(what string, inValue bool) {
		t.Helper()
		read, walked, checked := ways()
		if errors.Is(read, kv.ErrCorrupt) != inValue || !errors.Is(walked, kv.ErrCorrupt) || !errors.Is(checked, kv.ErrCorrupt) {
			t.Fatalf("%s: read %v, walked %v, checked %v", what, read, walked, checked)
		}
	}
	for at := 0; at < len(sound); at += 3 {
		bad := bytes.Clone(sound)
		bad[at] ^= 1 << (at % 8)
		if err := disk.WriteFile(name, bad); err != nil {
			t.Fatal(err)
		}
		expect(fmt.Sprint("byte ", at), at >= valueHeaderSize)
	}
	for _, size := range []int{0, 1, valueHeaderSize - 1, valueHeaderSize, len(sound) - 1} {
		if err := disk.WriteFile(name, sound[:size]); err != nil {
			t.Fatal(err)
		}
		expect(fmt.Sprint(size, " bytes"), true)
	}
	if err := disk.WriteFile(name, append(bytes.Clone(sound), "behind"...)); err != nil {
		t.Fatal(err)
	}
	if read, walked, checked := ways(); read != nil || walked != nil || checked != nil {
		t.Error("a longer file:", read, walked, checked)
	}
	other, err := createValue(x.o, 8, testBucket, patterned(ValueFileMin+100))
	if err != nil || other.Sum != e.sumOf(x) {
		t.Fatal(other, err)
	}
	swapped, _ := disk.ReadFile(x.valueFile(8))
	if err := disk.WriteFile(name, swapped); err != nil {
		t.Fatal(err)
	}
	expect("the file of another record with the same value", false)
	if err := disk.Remove(name); err != nil {
		t.Fatal(err)
	}
	expect("no file", true)
}

// sumOf returns the checksum of the value that the entry's record names.
func (e *Entry) sumOf(x *fixture) uint64 { return x.records[e.Offset].File.Sum }

// A value file of a later version is not damage.
func TestValueFileOfALaterVersion(t *testing.T) {
	x := create(t, memOptions(t))
	x.putFile("large", 7, patterned(ValueFileMin), nil)
	for _, h := range []valueHeader{{version: version + 1}, {version: version, features: 1}} {
		if err := x.o.FS.(*simdisk.Disk).WriteFile(x.valueFile(7), append(h.encode(), patterned(ValueFileMin)...)); err != nil {
			t.Fatal(err)
		}
		err := x.s.Walk(0, x.s.Size(), func(int64, *Record, int, bool) error { return nil }, func(d *kv.CorruptError) { t.Error(d) })
		if !errors.Is(err, kv.ErrVersion) {
			t.Errorf("%+v: %v", h, err)
		}
	}
}

// Any call that fails, and a full disk, is an error of the write. Where it succeeds, every power
// cut after it, once the directory is synced, leaves the value.
func TestWriteValueAtEveryFault(t *testing.T) {
	value := patterned(2*valueBurst + 5000)
	for n := int64(1); ; n++ {
		o := memOptions(t)
		disk := o.FS.(*simdisk.Disk)
		f := faulty(&o)
		f.Inject(simdisk.FailNth(n, errInjected))
		file, err := createValue(o, 9, testBucket, value)
		if n <= f.Calls() {
			if !errors.Is(err, errInjected) {
				t.Errorf("call %d fails: %v", n, err)
			}
			continue
		}
		if err != nil || n < 14 {
			t.Fatalf("%d calls without a fault: %v", n, err)
		}
		if err := errors.Join(vfs.SyncDir(disk, "."), vfs.SyncDir(disk, o.Dir)); err != nil {
			t.Fatal(err)
		}
		s := newSegment(&o, Desc{Number: 1, BucketID: testBucket})
		s.fs = disk.Crash(simdisk.KeepNone())
		if got, err := s.appendValue(nil, file); err != nil || !bytes.Equal(got, value) {
			t.Errorf("after a power cut: %d bytes, %v", len(got), err)
		}
		break
	}
	o := memOptions(t)
	disk := o.FS.(*simdisk.Disk)
	disk.SetCapacity(disk.Used() + 64<<10)
	if _, err := createValue(o, 9, testBucket, value); !errors.Is(err, vfs.ErrNoSpace) {
		t.Errorf("on a full disk: %v", err)
	}
}

// A file is written to again under another number, whatever its length is. One that is much too
// long is cut.
func TestReuseValueFile(t *testing.T) {
	o := memOptions(t)
	disk := o.FS.(*simdisk.Disk)
	if _, err := createValue(o, 1, testBucket, patterned(100_000)); err != nil {
		t.Fatal(err)
	}
	number := uint64(1)
	long := int64(valueHeaderSize + 100_000)
	for _, c := range []struct {
		size int
		want int64
	}{{100_000, long}, {99_000, long}, {50_000, valueHeaderSize + 50_000}, {49_000, valueHeaderSize + 50_000}, {80_000, valueHeaderSize + 80_000}} {
		before, err := disk.Stat(path.Join(o.Dir, ValueFileName(number)))
		if err != nil {
			t.Fatal(err)
		}
		size, err := ReuseValueFile(o, number, number+1)
		if err != nil || size != before.Size {
			t.Fatalf("%d bytes of %d, %v", size, before.Size, err)
		}
		number++
		value := patterned(c.size)
		value[0] = byte(number)
		file, err := WriteValue(o, number, testBucket, value)
		if err != nil {
			t.Fatal(err)
		}
		s := newSegment(&o, Desc{Number: 1, BucketID: testBucket})
		if got, err := s.appendValue(nil, file); err != nil || !bytes.Equal(got, value) {
			t.Errorf("%d bytes: read %d, %v", c.size, len(got), err)
		}
		if err := CheckValue(o, &Record{BucketID: testBucket, Key: []byte("k"), File: file}); err != nil {
			t.Error(err)
		}
		if after, err := disk.Stat(path.Join(o.Dir, ValueFileName(number))); err != nil || after.Size != c.want {
			t.Errorf("a value of %d bytes in a file of %d, want %d, %v", c.size, after.Size, c.want, err)
		}
	}
	if _, err := ReuseValueFile(o, 77, 78); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("reuse of no file: %v", err)
	}
}

func TestValueFileNames(t *testing.T) {
	if n, ok := ParseValueFileName(ValueFileName(0xabc)); n != 0xabc || !ok {
		t.Errorf("%x, %t", n, ok)
	}
	for _, name := range []string{"", ".val", "0000000000000abc.seg", "abc.val", "0000000000000ABC.val", "00000000000000abc.val", FileName(1) + ".val"} {
		if n, ok := ParseValueFileName(name); ok {
			t.Errorf("%q is %d", name, n)
		}
	}
}

func TestRemoveValue(t *testing.T) {
	o := memOptions(t)
	if _, err := createValue(o, 9, testBucket, make([]byte, 3*removeStep)); err != nil {
		t.Fatal(err)
	}
	steps := 0
	if err := RemoveValue(o, 9, func() { steps++ }); err != nil || steps != 3 {
		t.Errorf("%d steps, %v", steps, err)
	}
	if err := RemoveValue(o, 9, func() {}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed again: %v", err)
	}
}

// The header of a value file has one encoding, and no other bytes are a header.
func FuzzValueHeader(f *testing.F) {
	h := valueHeader{version: version, storeID: [16]byte{1}, bucketID: 2, number: 3, seed: 4, sum: 5, size: 6}
	f.Add(h.encode())
	f.Add(make([]byte, valueHeaderSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		b = append(b, make([]byte, valueHeaderSize)...)[:valueHeaderSize]
		h, err := decodeValueHeader(b)
		if err != nil {
			if !errors.Is(err, kv.ErrCorrupt) && !errors.Is(err, kv.ErrVersion) {
				t.Fatal(err)
			}
			return
		}
		if again, err := decodeValueHeader(h.encode()); err != nil || again != h {
			t.Fatalf("%+v is read as %+v, %v", h, again, err)
		}
	})
}
