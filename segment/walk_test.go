package segment

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// A client that knows the format but not the store's seed cannot make a value
// that a search takes for a record.
func TestWalkFindsNoForgedRecord(t *testing.T) {
	forged := Record{BucketID: testBucket, Revision: 1000, Floor: 1000, Op: Purge, Reason: kv.ReasonClient, Key: []byte("alpha")}
	for name, seed := range map[string]Seed{"no seed": 0, "another seed": testSeed + 1} {
		t.Run(name, func(t *testing.T) {
			record := seed.AppendRecord(nil, &forged)
			page := make([]byte, pageSize)
			seed.putPageHeader(page, place{testBucket, testNumber, 3 * pageSize}, &pageHeader{
				block: extent{3 * pageSize, 1}, first: HeaderSize, own: totals{1, 0}, length: 8})
			start := make([]byte, pageSize-recordFixedSize-len("holds it")) // the page begins on a page of the file
			checkFindsNothingIn(t, slices.Concat(start, page, bytes.Repeat(record, 3)))
		})
	}
}

// The bytes of a record do not depend on their place, so somebody who can read the files can
// store copies of real records. A copy is older than the record that contains it.
func TestWalkFindsNoCopyOfARecord(t *testing.T) {
	old := Record{BucketID: testBucket, Revision: 2, Floor: 2, Created: 2e9, Op: Put, Key: []byte("alpha"), Value: []byte("an old value")}
	checkFindsNothingIn(t, bytes.Repeat(testSeed.AppendRecord(nil, &old), 3))
}

// checkFindsNothingIn damages the head of a record with that value, at every
// alignment within the record.
func checkFindsNothingIn(t *testing.T, value []byte) {
	t.Helper()
	for pad := range alignment {
		x := create(t, memOptions(t))
		x.put("before", "1")
		x.put("before", "2")
		x.put("before", "3")
		x.append(Record{BucketID: testBucket, Floor: 1, Op: Erase, Key: []byte("takes no revision")})
		x.index()
		x.put("holds it", strings.Repeat("p", pad)+string(value))
		x.put("behind", "5")
		x.index()
		holder := x.entries[4]
		x.write(holder.Offset, []byte("damaged!"))
		x.entries = without(x.entries, &holder)
		walked, lost, damage := x.walk()
		if !reflect.DeepEqual(walked, x.entries) || lost != nil {
			t.Errorf("walked %+v, %v", walked, lost)
		}
		if len(damage) != 1 || damage[0].Offset != holder.Offset {
			t.Errorf("damage is %v", damage)
		}
		x.write(x.s.Desc().LastIndex+pageHeaderSize, []byte{0})
		if entries, _ := x.list(); !reflect.DeepEqual(entries, x.entries) {
			t.Errorf("entries %+v", entries)
		}
	}
}

// An erase stays true, so an old one that is found again does no harm.
func TestWalkSearchAcceptsAnErase(t *testing.T) {
	x := create(t, memOptions(t))
	x.put("a", "1")
	x.put("b", "2")
	x.append(Record{BucketID: testBucket, Floor: 2, Op: Erase, Key: []byte("a")})
	x.index()
	x.write(x.entries[1].Offset, []byte("damaged!"))
	if walked, _, _ := x.walk(); len(walked) != 2 || walked[1].Op != Erase {
		t.Errorf("walked %+v", walked)
	}
}

func TestWalkReportsARangeOnce(t *testing.T) {
	x := sampleSegment(t, memOptions(t))
	first, last := x.entries[2], x.entries[4] // a block and its zeros between them
	x.write(first.Offset, bytes.Repeat([]byte{0xa5}, int(last.Offset-first.Offset)))
	walked, _, damage := x.walk()
	if want := append(slices.Clone(x.entries[:2]), x.entries[4:]...); !reflect.DeepEqual(walked, want) {
		t.Errorf("walked %+v", walked)
	}
	if len(damage) != 1 || damage[0].Offset != first.Offset || !strings.Contains(damage[0].Detail, "hold no valid record") {
		t.Errorf("damage is %v", damage)
	}
}

func TestWalkOfZeros(t *testing.T) {
	x := sampleSegment(t, memOptions(t))
	x.write(0, make([]byte, x.s.Size()))
	walked, _, damage := x.walk()
	if walked != nil || len(damage) != 2 || damage[0].Offset != 0 || damage[1].Offset != HeaderSize {
		t.Errorf("walked %+v, %v", walked, damage)
	}
}

func TestWalkPart(t *testing.T) {
	x := sampleSegment(t, memOptions(t))
	for from := range x.entries {
		for to := from; to < len(x.entries); to++ {
			var got []int64
			err := x.s.Walk(x.entries[from].Offset, x.entries[to].Offset, func(offset int64, _ *Record, _ int, valueOK bool) error {
				if !valueOK {
					t.Errorf("value at %d is lost", offset)
				}
				got = append(got, offset)
				return nil
			}, func(e *kv.CorruptError) { t.Error(e) })
			if err != nil || len(got) != to-from || to > from && got[0] != x.entries[from].Offset {
				t.Errorf("from %d to %d: %d, %v", from, to, got, err)
			}
		}
	}
}

// A record or block that extends past the end of a walk is not returned.
func TestWalkEndsInsideARecordOrBlock(t *testing.T) {
	x := sampleSegment(t, memOptions(t))
	second := x.entries[1]
	b := x.blocks()[0]
	for what, c := range map[string]struct{ from, to int64 }{
		"a record":             {second.Offset, second.Offset + int64(second.Size) - alignment},
		"a record's head":      {second.Offset, second.Offset + alignment},
		"an index page":        {b.offset, b.end() - alignment},
		"an index page's head": {b.offset, b.offset + alignment},
	} {
		var damage []*kv.CorruptError
		err := x.s.Walk(c.from, c.to, func(offset int64, _ *Record, _ int, _ bool) error {
			t.Errorf("%s: a record at %d", what, offset)
			return nil
		}, func(e *kv.CorruptError) { damage = append(damage, e) })
		if err != nil || len(damage) != 1 || damage[0].Offset != c.from {
			t.Errorf("%s: %v, %v", what, damage, err)
		}
	}
}

// The record after a damaged one is found at any place.
func TestWalkSearchesAtEveryStep(t *testing.T) {
	for size := range 3 * alignment {
		x := create(t, memOptions(t))
		x.put("lost", strings.Repeat("v", size))
		x.put("behind", "it")
		x.index()
		x.write(x.entries[0].Offset, []byte("damaged!"))
		if walked, _, damage := x.walk(); !reflect.DeepEqual(walked, x.entries[1:]) || len(damage) != 1 {
			t.Errorf("after %d bytes: walked %+v, %v", x.entries[0].Size, walked, damage)
		}
	}
}

func TestWalkStopsWithItsCallersError(t *testing.T) {
	x := sampleSegment(t, memOptions(t))
	calls := 0
	stop := func() error { calls++; return io.ErrClosedPipe }
	fail := func(e *kv.CorruptError) { t.Error(e) }
	if err := x.s.Walk(0, x.s.Size(), func(int64, *Record, int, bool) error { return stop() }, fail); err != io.ErrClosedPipe || calls != 1 {
		t.Errorf("Walk: %v after %d calls", err, calls)
	}
	if err := x.s.Entries(func(*Entry) error { return stop() }, fail, nil); err != io.ErrClosedPipe || calls != 2 {
		t.Errorf("Entries: %v after %d calls", err, calls-1)
	}
}

// Values that are larger than the window.
func TestWalkLargeValues(t *testing.T) {
	x := &fixture{t: t, o: memOptions(t), records: map[int64]Record{}}
	var err error
	if x.s, err = Create(x.o, testNumber, testBucket, 16<<20); err != nil {
		t.Fatal(err)
	}
	defer func() { <-x.s.Retire() }()
	for _, size := range []int{100, 3 * windowSize, windowSize - 5, 2*windowSize + 1} {
		x.put("key", strings.Repeat("v", size))
	}
	x.index()
	x.check()
	big := x.entries[1]
	x.write(big.Offset+2*windowSize, []byte("x"))
	walked, lost, damage := x.walk()
	if !reflect.DeepEqual(walked, x.entries) || !slices.Equal(lost, []int64{big.Offset}) || len(damage) != 1 ||
		!strings.Contains(damage[0].Detail, `key "key", revision 2, bucket "my-kv"`) {
		t.Errorf("a damaged value: walked %d records, %v, %v", len(walked), lost, damage)
	}
	x.write(big.Offset, []byte("x"))
	walked, lost, damage = x.walk()
	if !reflect.DeepEqual(walked, without(x.entries, &big)) || lost != nil || len(damage) != 1 || damage[0].Offset != big.Offset {
		t.Errorf("a damaged head: walked %d records, %v, %v", len(walked), lost, damage)
	}
}

// faulty puts a fault injector between a segment and its files.
func faulty(o *Options) *simdisk.Fault {
	f := simdisk.NewFault(o.FS)
	o.FS = f
	return f
}

// An unreadable page loses only the records on it, and the system's error is reported.
func TestWalkUnreadablePages(t *testing.T) {
	o := memOptions(t)
	f := faulty(&o)
	x := create(t, o)
	for range 8 {
		x.put("key", strings.Repeat("v", 2000))
	}
	x.index()
	f.Inject(func(op simdisk.Op) simdisk.Action {
		if op.Kind == simdisk.OpReadAt && op.Offset < 2*pageSize && op.Offset+int64(op.Len) > pageSize {
			return simdisk.Action{Err: io.ErrUnexpectedEOF}
		}
		return simdisk.Action{}
	})
	var want []Entry
	heads := 0
	for _, e := range x.entries {
		if e.Offset+int64(e.Size) <= pageSize || e.Offset >= 2*pageSize {
			want = append(want, e)
		} else if e.Offset < pageSize {
			want = append(want, e) // the head is still there
			heads++
		}
	}
	walked, lost, damage := x.walk()
	if !reflect.DeepEqual(walked, want) || len(lost) != heads || heads != 1 {
		t.Errorf("walked %d records, want %d; lost %v", len(walked), len(want), lost)
	}
	for _, d := range damage {
		if !errors.Is(d, io.ErrUnexpectedEOF) {
			t.Errorf("the damage does not name its cause: %v", d)
		}
	}
	if len(damage) != 2 {
		t.Errorf("damage is %v", damage)
	}
	// The index is on another page and has all records.
	if entries, damage := x.list(); !reflect.DeepEqual(entries, x.entries) || damage != nil {
		t.Errorf("%d entries, %v", len(entries), damage)
	}
}

// An unreadable page does not count as zeros.
func TestWalkUnreadableZeros(t *testing.T) {
	o := memOptions(t)
	f := faulty(&o)
	x := create(t, o)
	x.put("zeros", string(make([]byte, 4*pageSize)))
	x.index()
	f.Inject(func(op simdisk.Op) simdisk.Action {
		if op.Kind == simdisk.OpReadAt && op.Offset < 2*pageSize && op.Offset+int64(op.Len) > pageSize {
			return simdisk.Action{Err: io.ErrUnexpectedEOF}
		}
		return simdisk.Action{}
	})
	if walked, lost, damage := x.walk(); len(walked) != 1 || len(lost) != 1 || len(damage) != 1 || !errors.Is(damage[0], io.ErrUnexpectedEOF) {
		t.Errorf("walked %+v, %v, %v", walked, lost, damage)
	}
}
