package segment

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strings"
	"testing"

	"kvd/internal/vfs"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

const (
	testBucket = 7
	testNumber = 3
	testLimit  = 1 << 20
)

// fixture is a segment and the records that were appended to it.
type fixture struct {
	t       testing.TB
	o       Options
	s       *Segment
	entries []Entry
	records map[int64]Record // by offset
	holes   []Hole           // found by the last list
	holds   bool             // appended records are held
}

func memOptions(t testing.TB) Options {
	t.Helper()
	fs := simdisk.New()
	if err := fs.Mkdir("segments"); err != nil {
		t.Fatal(err)
	}
	return Options{FS: fs, Dir: "segments", Seed: testSeed, StoreID: [16]byte([]byte("0123456789abcdef")), Bucket: "my-kv"}
}

func osOptions(t testing.TB) Options {
	o := memOptions(t)
	o.FS, o.Dir = vfs.OS(), t.TempDir()
	return o
}

func create(t testing.TB, o Options) *fixture {
	t.Helper()
	return createOf(t, o, testLimit)
}

func createOf(t testing.TB, o Options, limit int64) *fixture {
	t.Helper()
	s, err := Create(o, testNumber, testBucket, limit)
	if err != nil {
		t.Fatal(err)
	}
	x := &fixture{t: t, o: o, s: s, records: map[int64]Record{}}
	t.Cleanup(func() {
		if x.s == nil {
			return
		}
		select {
		case <-x.s.released:
		default:
			<-x.s.Retire()
		}
	})
	return x
}

// append appends the records of one group and their entries.
func (x *fixture) append(records ...Record) {
	x.t.Helper()
	var group []byte
	entries := int64(0)
	for i := range records {
		group = testSeed.AppendRecord(group, &records[i])
		entries += int64(EntryBound(len(records[i].Key), records[i].File.Number != 0))
	}
	if err := x.s.Reserve(int64(len(group)), entries); err != nil {
		x.t.Fatal(err)
	}
	start := x.s.Size()
	if x.holds {
		x.s.Hold(group)
	} else if _, err := x.s.Append(group); err != nil {
		x.t.Fatal(err)
	}
	offset := start
	for i := range records {
		e := entryOf(&records[i], offset)
		x.entries = append(x.entries, e)
		e.HeadSum = HeadSum(group[offset-start:])
		x.s.AddEntry(&e)
		x.records[offset] = records[i]
		offset += int64(e.Size)
	}
}

// asRead returns a record as Read returns it: decompressed.
func asRead(t testing.TB, r Record) Record {
	t.Helper()
	value, err := r.AppendValue(nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Value, r.Compressed, r.RawLen = value, false, 0
	return r
}

func entryOf(r *Record, offset int64) Entry {
	return Entry{
		Key: r.Key, Revision: r.Revision, Floor: r.Floor, Created: r.Created, Deadline: r.Deadline,
		Offset: offset, Size: uint32(sizeOf(r)), ValueLen: r.ValueLen(), File: r.File.Number, Op: r.Op, Reason: r.Reason,
		First: r.First, Lost: r.Lost,
	}
}

// put appends a value of key with the next revision.
func (x *fixture) put(key, value string) {
	x.t.Helper()
	rev := kv.Revision(len(x.entries) + 1)
	first := !slices.ContainsFunc(x.entries, func(e Entry) bool { return string(e.Key) == key })
	x.append(Record{BucketID: testBucket, Revision: rev, Floor: rev, Created: int64(rev) * 1e9, Op: Put, First: first, Key: []byte(key), Value: []byte(value)})
}

func (x *fixture) index() {
	x.t.Helper()
	b, ok := x.s.BeginIndex()
	if !ok {
		x.t.Fatal("nothing pending")
	}
	if err := x.s.WriteIndex(b); err != nil {
		x.t.Fatal(err)
	}
}

func (x *fixture) seal() {
	x.t.Helper()
	if err := x.s.Seal(); err != nil {
		x.t.Fatal(err)
	}
}

// reopen retires the segment and opens it again from its description.
func (x *fixture) reopen() {
	x.t.Helper()
	d := x.s.Desc()
	<-x.s.Retire()
	s, err := Open(x.o, d)
	if err != nil {
		x.t.Fatal(err)
	}
	x.s = s
	if got := s.Desc(); got != d {
		x.t.Fatalf("opened as %+v, want %+v", got, d)
	}
}

// sampleSegment returns a sealed segment of three index blocks, each of which has a page behind
// a page of records.
func sampleSegment(t testing.TB, o Options) *fixture {
	t.Helper()
	x := create(t, o)
	x.put("alpha", "one")
	x.put("beta", strings.Repeat("two", 30))
	x.index()
	x.append(
		Record{BucketID: testBucket, Revision: 3, Floor: 1, Created: 3e9, Op: Delete, Reason: kv.ReasonClient, Key: []byte("alpha")},
		Record{BucketID: testBucket, Revision: 4, Floor: 4, Created: 4e9, Deadline: 9e9, Op: Put, First: true, Key: []byte("gamma"),
			Headers: []byte("headers"), Compressed: true, RawLen: 200, Value: []byte("\xc8\x01\x003\x11\x01\x15\x00\xb7")}, // 200 times "3"
	)
	x.index()
	x.append(Record{BucketID: testBucket, Floor: 5, Created: 5e9, Op: Erase, Key: []byte("beta")})
	x.put("alpha", "")
	x.index()
	x.seal()
	return x
}

// edit changes bytes of the file directly.
func (x *fixture) edit(f func(vfs.File) error) {
	x.t.Helper()
	file, err := x.o.FS.Open(x.s.path, vfs.ReadWrite)
	if err == nil {
		err = errors.Join(f(file), file.Close())
	}
	if err != nil {
		x.t.Fatal(err)
	}
}

// open opens the file for reading and closes it when the test ends.
func (x *fixture) open() vfs.File {
	x.t.Helper()
	file, err := x.s.openToRead()
	if err != nil {
		x.t.Fatal(err)
	}
	x.t.Cleanup(func() { _ = file.Close() })
	return file
}

func (x *fixture) write(offset int64, b []byte) {
	x.t.Helper()
	x.edit(func(f vfs.File) error { _, err := f.WriteAt(b, offset); return err })
}

func (x *fixture) bytes() []byte {
	x.t.Helper()
	b := make([]byte, x.s.Size())
	x.edit(func(f vfs.File) error { return readFull(f, b, 0) })
	return b
}

// read reads the record of an entry.
func (x *fixture) read(e *Entry) (Record, error) {
	x.s.Pin()
	defer x.s.Unpin()
	r, _, err := x.s.Read(nil, e.Offset, e.Size, string(e.Key), e.Revision)
	return r, err
}

// list returns the results of Entries, and sets holes.
func (x *fixture) list() (entries []Entry, damage []*kv.CorruptError) {
	x.t.Helper()
	x.holes = nil
	err := x.s.Entries(func(e *Entry) error {
		c := *e
		c.Key = bytes.Clone(e.Key)
		entries = append(entries, c)
		return nil
	}, func(e *kv.CorruptError) { damage = append(damage, e) }, func(h Hole) { x.holes = append(x.holes, h) })
	if err != nil {
		x.t.Fatal(err)
	}
	return entries, damage
}

// walk returns the results of Walk, and the offsets of records whose value is lost.
func (x *fixture) walk() (entries []Entry, lost []int64, damage []*kv.CorruptError) {
	x.t.Helper()
	err := x.s.Walk(0, x.s.Size(), func(offset int64, r *Record, size int, valueOK bool) error {
		e := entryOf(r, offset)
		e.Key, e.Size, e.ValueLen = bytes.Clone(r.Key), uint32(size), uint32(len(x.records[offset].Value))
		entries = append(entries, e)
		if !valueOK {
			lost = append(lost, offset)
		}
		return nil
	}, func(e *kv.CorruptError) { damage = append(damage, e) })
	if err != nil {
		x.t.Fatal(err)
	}
	return entries, lost, damage
}

// check verifies that every appended record can be read, listed and walked.
func (x *fixture) check() {
	x.t.Helper()
	for i := range x.entries {
		e := &x.entries[i]
		if r, err := x.read(e); err != nil || !equal(r, asRead(x.t, x.records[e.Offset])) {
			x.t.Errorf("read %+v, %v; want %+v", r, err, x.records[e.Offset])
		}
	}
	if got, damage := x.list(); !reflect.DeepEqual(got, x.entries) || damage != nil || x.holes != nil {
		x.t.Errorf("entries %+v, %v, %+v; want %+v", got, damage, x.holes, x.entries)
	}
	if got, lost, damage := x.walk(); !reflect.DeepEqual(got, x.entries) || lost != nil || damage != nil {
		x.t.Errorf("walked %+v, %v, %v; want %+v", got, lost, damage, x.entries)
	}
}

func onBoth(t *testing.T, f func(t *testing.T, o Options)) {
	t.Run("Mem", func(t *testing.T) { f(t, memOptions(t)) })
	t.Run("OS", func(t *testing.T) { f(t, osOptions(t)) })
}

func TestSegment(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		x := sampleSegment(t, o)
		x.check()
		x.reopen()
		x.check()
		if d := x.s.Desc(); d.Size != 6*pageSize || !d.Sealed || d.Number != testNumber || d.BucketID != testBucket || d.Limit != testLimit {
			t.Errorf("described as %+v", d)
		}
	})
}

func TestAppendsContinueAfterOpen(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		x := create(t, o)
		x.reopen()
		x.put("a", "1")
		x.index()
		x.reopen()
		x.put("lost", "never indexed, so the reopened segment has forgotten it")
		x.entries = x.entries[:1]
		x.reopen()
		x.put("b", "2")
		x.index()
		x.put("c", "3")
		x.index()
		x.check()
		x.seal()
		x.reopen()
		x.check()
	})
}

func TestFileName(t *testing.T) {
	for number, name := range map[uint64]string{0: "0000000000000000.seg", 0xabc: "0000000000000abc.seg", 1<<64 - 1: "ffffffffffffffff.seg"} {
		if got := FileName(number); got != name {
			t.Errorf("%d is named %s", number, got)
		}
		if got, ok := ParseFileName(name); !ok || got != number {
			t.Errorf("%s parsed as %d, %v", name, got, ok)
		}
	}
	for _, name := range []string{"", ".seg", "0000000000000abc", "0000000000000ABC.seg", "0000000000000abc.log", "+000000000000abc.seg", "00000000000000abc.seg", "000000000000xabc.seg"} {
		if got, ok := ParseFileName(name); ok {
			t.Errorf("%q parsed as %d", name, got)
		}
	}
}

func TestOpenRefusesAnotherFile(t *testing.T) {
	x := sampleSegment(t, memOptions(t))
	d := x.s.Desc()
	refused := func(o Options, d Desc, want string) {
		t.Helper()
		for _, d.Sealed = range []bool{false, true} {
			if _, err := Open(o, d); !errors.Is(err, kv.ErrCorrupt) || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
		}
	}
	other := x.o
	other.StoreID[0]++
	refused(other, d, "belongs to store")
	seed := x.o
	seed.Seed++
	refused(seed, d, "belongs to store")

	bucket := d
	bucket.BucketID++
	refused(x.o, bucket, "is segment 3 of bucket 7, not 3 of 8")

	number := d
	number.Number++
	if err := x.o.FS.Rename(x.s.path, x.o.path(number.Number)); err != nil {
		t.Fatal(err)
	}
	refused(x.o, number, "is segment 3 of bucket 7, not 4 of 7")
}

func TestOpenMissing(t *testing.T) {
	o := memOptions(t)
	if _, err := Open(o, Desc{Number: 1, BucketID: 1, Size: HeaderSize, Limit: testLimit}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestOpenRefusesImpossibleDescriptions(t *testing.T) {
	x := sampleSegment(t, memOptions(t))
	for name, change := range map[string]func(*Desc){
		"no header":                 func(d *Desc) { d.Size = HeaderSize - 8 },
		"no whole pages":            func(d *Desc) { d.Size -= 8 },
		"beyond its limit":          func(d *Desc) { d.Limit = d.Size - 1 },
		"limit too large":           func(d *Desc) { d.Limit = MaxSize + 1 },
		"index before the file":     func(d *Desc) { d.LastIndex = -pageSize },
		"index behind its end":      func(d *Desc) { d.LastIndex = d.Size },
		"index not on a page":       func(d *Desc) { d.LastIndex += 8 },
		"records without an index":  func(d *Desc) { d.LastIndex = 0 },
		"an index without records":  func(d *Desc) { d.Records, d.Sum, d.First, d.Last = 0, 0, 0, 0 },
		"more records than fit":     func(d *Desc) { d.Records = uint64(d.Size)/recordMin + 1 },
		"a first without a last":    func(d *Desc) { d.Last = 0 },
		"a last without a first":    func(d *Desc) { d.First = 0 },
		"the first behind the last": func(d *Desc) { d.First = d.Last + 1 },
	} {
		d := x.s.Desc()
		change(&d)
		if _, err := Open(x.o, d); err == nil || !strings.Contains(err.Error(), "impossible description") {
			t.Errorf("%s: %v", name, err)
		}
	}
	empty := Desc{Number: testNumber, BucketID: testBucket, Size: HeaderSize, Limit: testLimit}
	for name, d := range map[string]Desc{"a sum": {Sum: 1}, "a revision": {First: 1, Last: 1}, "an index": {LastIndex: pageSize}, "a record": {Records: 1}} {
		d.Number, d.BucketID, d.Size, d.Limit = empty.Number, empty.BucketID, empty.Size, empty.Limit
		if err := d.Check(); !errors.Is(err, kv.ErrCorrupt) {
			t.Errorf("an empty segment with %s: %v", name, err)
		}
	}
	if err := empty.Check(); err != nil {
		t.Error(err)
	}
}

// A sound header of another version, or with a feature that nobody has defined yet, is no
// damage: another program can read the file.
func TestOpenRefusesAnotherVersion(t *testing.T) {
	x := sampleSegment(t, memOptions(t))
	for want, h := range map[string]fileHeader{
		"before the first release": {version: 1},
		"this program knows 2":     {version: 3},
		"features 0x1":             {version: 2, features: 1},
		"features 0x80000000":      {version: 2, features: 1 << 31},
	} {
		h.storeID, h.bucketID, h.number, h.seed = x.o.StoreID, testBucket, testNumber, testSeed
		x.write(0, appendFileHeader(nil, &h))
		if _, err := Open(x.o, x.s.Desc()); !errors.Is(err, kv.ErrVersion) || errors.Is(err, kv.ErrCorrupt) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// A file that was cut anywhere opens. What is left of it is read, and what is beyond is missing.
func TestOpenEveryCut(t *testing.T) {
	x := sampleSegment(t, memOptions(t))
	d, m := x.s.Desc(), newModel(x)
	<-x.s.Retire()
	for size := d.Size - 1; size >= 0; size-- {
		x.edit(func(f vfs.File) error { return f.Truncate(size) })
		s, err := Open(x.o, d)
		if err != nil {
			t.Fatalf("cut to %d of %d bytes: %v", size, d.Size, err)
		}
		x.s = s
		damage := m.check(fmt.Sprintf("cut to %d bytes", size))
		_, _, walked := x.walk()
		ends := func(e *kv.CorruptError) bool {
			return strings.Contains(e.Detail, "24576 bytes belong to it") && e.File == s.path
		}
		if !slices.ContainsFunc(damage, ends) || !slices.ContainsFunc(walked, ends) {
			t.Errorf("cut to %d bytes: damage is %v; walked %v", size, damage, walked)
		}
		var scanned []*kv.CorruptError
		next, err := new(Scanner).Scan(s, 0, func(int64, *Record, int) bool { return true }, func(e *kv.CorruptError) { scanned = append(scanned, e) })
		if next != d.Size || err != nil || !slices.ContainsFunc(scanned, ends) {
			t.Errorf("cut to %d bytes: scanned to %d, %v, %v", size, next, scanned, err)
		}
		if t.Failed() {
			return
		}
		<-s.Retire()
	}
	x.s = nil
}

func TestCreateRefuses(t *testing.T) {
	o := memOptions(t)
	for _, limit := range []int64{-1, 0, MaxSize + 1} {
		if _, err := Create(o, 1, 1, limit); err == nil {
			t.Errorf("limit %d was accepted", limit)
		}
	}
	x := create(t, o)
	if _, err := Create(o, testNumber, testBucket, testLimit); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second of the same number: %v", err)
	}
	if x.put("a", "1"); len(x.entries) != 1 {
		t.Error("the first segment was changed")
	}
}

// A flipped bit damages only its own record: reads return the right answer or an error,
// and both listings return every sound record.
func TestEveryBit(t *testing.T) {
	x := sampleSegment(t, memOptions(t))
	sound, spans := x.bytes(), x.parts()
	for p := range int64(len(sound)) {
		if p == spans[0].end {
			spans = spans[1:]
		}
		for bit := range 8 {
			if (spans[0].part == padding || spans[0].part == rest) && bit > 0 {
				break // one bit for each of the many zeros
			}
			x.write(p, []byte{sound[p] ^ 1<<bit})
			x.reopen()
			x.checkDamaged(spans[0].part, spans[0].entry)
			if t.Failed() {
				t.Fatalf("bit %d of byte %d", bit, p)
			}
		}
		x.write(p, sound[p:p+1])
	}
}

// part is the part of a segment that a byte belongs to.
type part string

const (
	header  part = "the file's header"
	head    part = "a record's head"
	body    part = "a record's body"
	padding part = "zeros before an index block"
	block   part = "an index block"
	rest    part = "zeros in an index page"
)

// span is a range of bytes of one part.
type span struct {
	part  part
	end   int64
	entry *Entry // whose record it is
}

// parts returns the parts of the file, from its start to its end.
func (x *fixture) parts() []span {
	spans := []span{{header, HeaderSize, nil}}
	blocks := x.blocks()
	for i := range x.entries {
		e := &x.entries[i]
		r := x.records[e.Offset]
		h, _ := headOf(&r)
		spans = append(spans, span{head, e.Offset + int64(h), e}, span{body, e.Offset + int64(e.Size), e})
		b := blocks[0]
		if h := x.pages(b)[0]; h.before.records+h.own.records == uint64(i+1) {
			end := b.offset + pageHeaderSize + int64(h.length)
			spans = append(spans, span{padding, b.offset, nil}, span{block, end, nil}, span{rest, b.end(), nil})
			blocks = blocks[1:]
		}
	}
	return spans
}

// checkDamaged verifies the reads and listings when one byte of part is wrong, in the
// record of lost.
func (x *fixture) checkDamaged(part part, lost *Entry) {
	x.t.Helper()
	for i := range x.entries {
		e := &x.entries[i]
		r, err := x.read(e)
		if e == lost {
			want := fmt.Sprintf("key %q, revision %d, bucket \"my-kv\"", e.Key, e.Revision)
			if damage := (*kv.CorruptError)(nil); !errors.As(err, &damage) || damage.Offset != e.Offset || !strings.Contains(damage.Detail, want) {
				x.t.Errorf("read of damaged %s: %+v, %v", e.Key, r, err)
			}
		} else if err != nil || !equal(r, asRead(x.t, x.records[e.Offset])) {
			x.t.Errorf("read of sound %s: %+v, %v", e.Key, r, err)
		}
	}
	// There is one damage at a time: if the index is damaged, the records are not.
	entries, damage := x.list()
	if !reflect.DeepEqual(entries, x.entries) {
		x.t.Errorf("damage in %s: entries are %+v", part, entries)
	}
	if got := len(damage) > 0; got != (part == header || part == block || part == rest) {
		x.t.Errorf("damage in %s: entries report %v", part, damage)
	}
	walked, values, damage := x.walk()
	wantValues, want := []int64(nil), x.entries
	if part == body {
		wantValues = []int64{lost.Offset}
	}
	if part == head {
		want = without(x.entries, lost)
	}
	if !reflect.DeepEqual(walked, want) || !reflect.DeepEqual(values, wantValues) || len(damage) != 1 {
		x.t.Errorf("damage in %s: walked %+v, %v, %v", part, walked, values, damage)
	}
}

func without(entries []Entry, lost *Entry) (rest []Entry) {
	for _, e := range entries {
		if e.Offset != lost.Offset {
			rest = append(rest, e)
		}
	}
	return rest
}
