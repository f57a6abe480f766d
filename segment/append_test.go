package segment

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"

	"kvd/internal/vfs"
	"kvd/kv"
)

// room is a file system with a limit for every file. It records how files grow and shrink,
// and counts open files and mappings.
type room struct {
	vfs.FS
	limit  int64   // of every file
	sizes  []int64 // sizes up to which files were allocated
	cuts   []int64 // sizes to which files were truncated
	files  int     // open
	maps   int     // mapped
	noMaps bool    // mapping fails
}

type roomFile struct {
	vfs.File
	r *room
}

type roomMapping struct {
	vfs.Mapping
	r *room
}

func (r *room) Open(path string, mode vfs.Mode) (vfs.File, error) {
	f, err := r.FS.Open(path, mode)
	if err != nil {
		return nil, err
	}
	r.files++
	return &roomFile{f, r}, nil
}

func (f *roomFile) Close() error {
	f.r.files--
	return f.File.Close()
}

func (f *roomFile) Map(n int64) (vfs.Mapping, error) {
	if f.r.noMaps {
		return nil, syscall.ENOMEM
	}
	m, err := f.File.Map(n)
	if err != nil {
		return nil, err
	}
	f.r.maps++
	return &roomMapping{m, f.r}, nil
}

func (m *roomMapping) Close() error {
	m.r.maps--
	return m.Mapping.Close()
}

func (f *roomFile) Allocate(off, n int64) error {
	if off+n > f.r.limit {
		return vfs.ErrNoSpace
	}
	f.r.sizes = append(f.r.sizes, off+n)
	return f.File.Allocate(off, n)
}

func (f *roomFile) Truncate(size int64) error {
	f.r.cuts = append(f.r.cuts, size)
	return f.File.Truncate(size)
}

func roomOptions(t testing.TB, limit int64) (Options, *room) {
	o := memOptions(t)
	r := &room{FS: o.FS, limit: limit}
	o.FS = r
	return o, r
}

func TestReserveGrowsInSteps(t *testing.T) {
	o, r := roomOptions(t, MaxSize)
	s, err := Create(o, 1, testBucket, 64<<20)
	if err != nil {
		t.Fatal(err)
	}
	value := make([]byte, 4096)
	x := fixture{t: t, o: o, s: s, records: map[int64]Record{}}
	for err == nil {
		x.put("key", string(value))
		err = s.Reserve(4096+64+8, int64(EntryBound(3, false)))
	}
	if err != ErrFull {
		t.Fatal(err)
	}
	for i, size := range r.sizes[1:] {
		step := size - r.sizes[i]
		if step > growMax || step < min(r.sizes[i], growMin) && size != 64<<20 {
			t.Errorf("grew from %d to %d", r.sizes[i], size)
		}
	}
	if n := len(r.sizes); n > 40 || r.sizes[0] != pageSize || r.sizes[n-1] != 64<<20 {
		t.Errorf("grew in %d steps: %d", n, r.sizes)
	}
	// The index block over everything still fits.
	x.index()
	if end := s.Size(); end > 64<<20 || end < 64<<20-3*pageSize-5000 {
		t.Errorf("full at %d", end)
	}
	x.seal()
	if !slices.Equal(r.cuts, []int64{s.Size()}) {
		t.Errorf("sealed at %d, truncated to %d", s.Size(), r.cuts)
	}
	<-s.Retire()
}

// After any reservations, appends and entries there is room for the index block, and the
// file never exceeds the allocated space.
func TestReserveCoversTheIndexBlock(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 30 {
		x := create(t, memOptions(t))
		for {
			key := strings.Repeat("k", 1+rng.IntN(300))
			value := strings.Repeat("v", rng.IntN(2000)*rng.IntN(2))
			if x.s.Reserve(int64(RecordSize(len(key), 0, len(value), false, false)), int64(EntryBound(len(key), false))) == ErrFull {
				break
			}
			x.put(key, value)
			if rng.IntN(40) == 0 {
				x.index()
			}
			if x.s.Size() > x.s.allocated.Load() || x.s.allocated.Load() > testLimit {
				t.Fatalf("appended to %d, allocated %d of %d", x.s.Size(), x.s.allocated.Load(), int64(testLimit))
			}
		}
		if len(x.s.pending.pages) > 0 {
			x.index()
		}
		if x.s.Size() > x.s.allocated.Load() {
			t.Fatalf("the last block ends at %d, allocated %d", x.s.Size(), x.s.allocated.Load())
		}
		x.seal()
		x.check()
	}
}

func TestReserveOnAFullDisk(t *testing.T) {
	o, r := roomOptions(t, 6*pageSize)
	x := create(t, o)
	x.put("a", strings.Repeat("v", 3*pageSize))
	x.put("b", strings.Repeat("v", pageSize)) // five pages would double to ten, but the disk has six
	if err := x.s.Reserve(pageSize, 100); !errors.Is(err, vfs.ErrNoSpace) {
		t.Errorf("got %v", err)
	}
	x.put("c", "what fits is still taken")
	if want := []int64{pageSize, 5 * pageSize, 6 * pageSize}; !slices.Equal(r.sizes, want) {
		t.Errorf("allocated %d, want %d", r.sizes, want)
	}
	r.limit = testLimit
	x.put("d", strings.Repeat("there is room again", 1000))
	x.index()
	x.check()
}

func TestCreateOnAFullDisk(t *testing.T) {
	o, r := roomOptions(t, 0)
	if _, err := Create(o, testNumber, testBucket, testLimit); !errors.Is(err, vfs.ErrNoSpace) {
		t.Errorf("got %v", err)
	}
	r.limit = testLimit
	create(t, o).put("the same number", "is free")
}

// After a crash the allocated space is unknown, so it is allocated again.
func TestReserveAfterOpen(t *testing.T) {
	o, r := roomOptions(t, testLimit)
	x := create(t, o)
	x.put("a", "1")
	x.reopen()
	x.put("b", "2")
	if want := []int64{pageSize, 2 * pageSize, 2 * pageSize}; !slices.Equal(r.sizes, want) {
		t.Errorf("allocated %d, want %d", r.sizes, want)
	}
}

// An active segment has one descriptor, a sealed one has none, and readers close the files
// that they open.
func TestFilesAreClosed(t *testing.T) {
	o, r := roomOptions(t, testLimit)
	x := create(t, o)
	x.put("a", "1")
	open := func(when string, files, maps int) {
		t.Helper()
		if r.files != files || r.maps != maps {
			t.Errorf("%s: %d files and %d mappings, want %d and %d", when, r.files, r.maps, files, maps)
		}
	}
	open("active", 1, 0)
	x.index()
	x.check()
	open("active and read", 1, 1)
	x.seal()
	open("sealed", 0, 1)
	x.check()
	x.reopen()
	open("reopened", 0, 0)
	x.check()
	open("reopened and read", 0, 1)
	<-x.s.Retire()
	open("retired", 0, 0)
	other := o
	other.StoreID[0]++
	if _, err := Open(other, Desc{Number: testNumber, BucketID: testBucket, Size: HeaderSize, Limit: testLimit}); err == nil {
		t.Error("Open accepted a file of another store")
	}
	open("refused", 0, 0)
}

func TestReserveUpToTheLimit(t *testing.T) {
	// A segment for one huge record only.
	r := Record{BucketID: testBucket, Revision: 1, Op: Put, Key: []byte("huge"), Value: make([]byte, kv.MaxValueSizeLimit)}
	size, bound := int64(sizeOf(&r)), int64(EntryBound(len(r.Key), false))
	o := memOptions(t)
	s, err := Create(o, testNumber, testBucket, SizeFor(size, bound))
	if err != nil {
		t.Fatal(err)
	}
	x := fixture{t: t, o: o, s: s, records: map[int64]Record{}}
	if err := s.Reserve(size+pageSize, bound); err != ErrFull {
		t.Errorf("a page beyond the limit: %v", err)
	}
	x.append(r)
	if err := s.Reserve(pageSize, bound); err != ErrFull {
		t.Errorf("a page more: %v", err)
	}
	x.index()
	if s.Size() != s.Desc().Limit {
		t.Errorf("ends at %d of %d", s.Size(), s.Desc().Limit)
	}
	x.seal()
	x.check()
	<-s.Retire()
}

// Desc has only what a manifest may have: records that are in an index block.
func TestDescMovesWithTheIndex(t *testing.T) {
	x := create(t, memOptions(t))
	fresh := x.s.Desc()
	x.put("a", "1")
	first, ok := x.s.BeginIndex()
	if !ok {
		t.Fatal("nothing pending")
	}
	x.put("b", "2") // while the block is not written yet
	second, ok := x.s.BeginIndex()
	if !ok {
		t.Fatal("nothing pending")
	}
	if got := x.s.Desc(); got != fresh {
		t.Errorf("with both blocks unwritten: %+v", got)
	}
	for i, b := range []*Block{first, second} {
		if err := x.s.WriteIndex(b); err != nil {
			t.Fatal(err)
		}
		want := fresh
		want.Size, want.LastIndex, want.Records = int64(i+1)*2*pageSize, b.at.offset, uint64(i+1)
		want.First, want.Last = 1, kv.Revision(i+1)
		for _, e := range x.entries[:i+1] {
			r := x.records[e.Offset]
			want.Sum += HeadSum(testSeed.AppendRecord(nil, &r))
		}
		if got := x.s.Desc(); got != want {
			t.Errorf("after block %d: %+v, want %+v", i+1, got, want)
		}
	}
	if b, ok := x.s.BeginIndex(); ok {
		t.Errorf("a block without entries: %+v", b)
	}
	x.check()
}

// Many pages make one block.
func TestLargeIndexBlock(t *testing.T) {
	o := memOptions(t)
	s, err := Create(o, testNumber, testBucket, 8<<20)
	if err != nil {
		t.Fatal(err)
	}
	x := fixture{t: t, o: o, s: s, records: map[int64]Record{}}
	for range 5000 {
		x.put(strings.Repeat("k", 100), "")
	}
	x.index()
	if n := len(x.entries); n != 5000 || s.Size()-s.Desc().LastIndex < 100*pageSize {
		t.Errorf("%d entries in a block at %d of %d", n, s.Desc().LastIndex, s.Size())
	}
	x.seal()
	if got, damage := x.list(); len(got) != 5000 || damage != nil || !slices.EqualFunc(got, x.entries, func(a, b Entry) bool { return a.Offset == b.Offset && a.Revision == b.Revision }) {
		t.Errorf("%d entries, %v", len(got), damage)
	}
	<-s.Retire()
}

func TestMisusePanics(t *testing.T) {
	for name, misuse := range map[string]func(x *fixture){
		"or without a reservation":  func(x *fixture) { _, _ = x.s.Append(make([]byte, 2*pageSize)) },
		"unaligned":                 func(x *fixture) { _, _ = x.s.Append(make([]byte, 9)) },
		"entry of the record at 72": func(x *fixture) { x.s.AddEntry(&Entry{Offset: 72, Size: 64, Key: []byte("k")}) },
		"that of the record at 64":  func(x *fixture) { x.s.AddEntry(&Entry{Offset: 64, Size: 64, Key: []byte("never appended")}) },
		"index of records up to 64": func(x *fixture) {
			_, _ = x.s.Append(make([]byte, 64))
			x.s.BeginIndex()
		},
		"written after the one at 0": func(x *fixture) {
			x.put("a", "1")
			x.s.BeginIndex()
			x.put("b", "2")
			b, _ := x.s.BeginIndex()
			_ = x.s.WriteIndex(b)
		},
		"seal at": func(x *fixture) {
			x.put("a", "1")
			_ = x.s.Seal()
		},
		"append of": func(x *fixture) {
			x.seal()
			_, _ = x.s.Append(make([]byte, 8))
		},
	} {
		t.Run(name, func(t *testing.T) {
			x := create(t, memOptions(t))
			defer func() {
				if e, _ := recover().(string); !strings.HasPrefix(e, "segment: ") || !strings.Contains(e, name) {
					t.Errorf("recovered %q", e)
				}
			}()
			misuse(x)
			t.Error("no panic")
		})
	}
}

func TestRemove(t *testing.T) {
	o, r := roomOptions(t, MaxSize)
	s, err := Create(o, testNumber, testBucket, 16<<20)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Reserve(9<<20, 0); err != nil {
		t.Fatal(err)
	}
	size := s.allocated.Load()
	<-s.Retire()
	steps := 0
	if err := Remove(o, testNumber, func() { steps++ }); err != nil {
		t.Fatal(err)
	}
	want := []int64{size - 4<<20, size - 8<<20}
	if steps != 2 || !slices.Equal(r.cuts, want) {
		t.Errorf("%d steps to %d, want %d", steps, r.cuts, want)
	}
	if _, err := o.FS.Stat(s.path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("afterwards: %v", err)
	}
	if err := Remove(o, testNumber, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a second time: %v", err)
	}
}
