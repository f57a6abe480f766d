package segment

import (
	"errors"
	"fmt"
	"reflect"
	"testing"

	"kvd/internal/vfs"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

var errInjected = errors.New("injected")

// useSegment creates a segment, uses it and removes it. It returns the first error of the
// writes, or all errors of the reads.
func useSegment(o Options) error {
	s, err := Create(o, testNumber, testBucket, testLimit)
	if err != nil {
		return err
	}
	defer func() {
		if s != nil {
			<-s.Retire()
		}
	}()
	r := Record{BucketID: testBucket, Revision: 1, Floor: 1, Op: Put, Key: []byte("key"), Value: make([]byte, 2*pageSize)}
	b := testSeed.AppendRecord(nil, &r)
	if err := s.Reserve(int64(len(b)), int64(EntryBound(len(r.Key), false))); err != nil {
		return err
	}
	offset, err := s.Append(b)
	if err != nil {
		return err
	}
	e := entryOf(&r, offset)
	added := e
	added.HeadSum = HeadSum(b)
	s.AddEntry(&added)
	block, _ := s.BeginIndex()
	if err := errors.Join(s.WriteIndex(block), s.Sync()); err != nil {
		return err
	}
	if err := s.Seal(); err != nil {
		return err
	}
	d := s.Desc()
	<-s.Retire()
	if s, err = Open(o, d); err != nil {
		return err
	}
	err = readAll(s, &e)
	<-s.Retire()
	s = nil
	return errors.Join(err, Remove(o, testNumber, func() {}))
}

// readAll reads the only record of a segment in every way.
func readAll(s *Segment, e *Entry) (err error) {
	damaged := func(e *kv.CorruptError) { err = errors.Join(err, e) }
	s.Pin()
	_, _, readErr := s.Read(nil, e.Offset, e.Size, string(e.Key), e.Revision)
	s.Unpin()
	found := 0
	return errors.Join(
		s.Entries(func(got *Entry) error {
			if !reflect.DeepEqual(got, e) {
				return fmt.Errorf("entry is %+v, want %+v", got, e)
			}
			found++
			return nil
		}, damaged, nil),
		s.Walk(0, s.Size(), func(int64, *Record, int, bool) error { found++; return nil }, damaged),
		readErr, err)
}

// Every file-system call fails in turn, once or from then on. The error is returned
// unchanged, and no read returns wrong data.
func TestEveryCallFails(t *testing.T) {
	o := memOptions(t)
	count := faulty(&o)
	if err := useSegment(o); err != nil {
		t.Fatal(err)
	}
	calls := count.Calls()
	if calls < 20 {
		t.Fatalf("%d calls", calls)
	}
	for n := int64(1); n <= calls; n++ {
		for name, inject := range map[string]func(simdisk.Op) simdisk.Action{"once": simdisk.FailNth(n, errInjected), "for good": simdisk.FailFrom(n, errInjected)} {
			o := memOptions(t)
			kind := simdisk.OpKind(0)
			f := faulty(&o)
			f.Inject(func(op simdisk.Op) simdisk.Action {
				if op.N == n {
					kind = op.Kind
				}
				return inject(op)
			})
			err := useSegment(o)
			// After one failed read of a large piece, its pages are read one by one. A file that
			// is not mapped is read.
			if retried := (kind == simdisk.OpReadAt || kind == simdisk.OpMap) && name == "once" && err == nil; !errors.Is(err, errInjected) && !retried {
				t.Errorf("call %d, %v, fails %s: %v", n, kind, name, err)
			}
		}
	}
}

// Records that were synced and are in the manifest survive a power cut, independently of
// later writes: they share no sector with them.
func TestPowerCutBesideAppends(t *testing.T) {
	x := create(t, memOptions(t))
	x.put("a", "1")
	x.put("b", "2")
	x.index()
	x.put("c", "appended beside the sync")
	if err := errors.Join(x.s.Sync(), vfs.SyncDir(x.o.FS, x.o.Dir), vfs.SyncDir(x.o.FS, "/")); err != nil {
		t.Fatal(err)
	}
	d, entries := x.s.Desc(), x.entries[:2]
	x.put("d", string(make([]byte, 3*pageSize)))
	x.index()
	x.seal()
	mem := x.o.FS.(*simdisk.Disk)
	sealed := *x
	sealed.o.FS = mem.Crash(simdisk.KeepNone())
	var err error
	if sealed.s, err = Open(sealed.o, x.s.Desc()); err != nil {
		t.Fatal(err)
	}
	sealed.check()
	<-sealed.s.Retire()
	for seed := range uint64(300) {
		y := *x
		y.o.FS = mem.Crash(simdisk.Random(seed))
		s, err := Open(y.o, d)
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		y.s, y.entries = s, entries
		y.check()
		<-s.Retire()
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
