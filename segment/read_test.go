package segment

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"kvd/internal/vfs"
	"kvd/kv"
)

func TestReadAppendsToItsBuffer(t *testing.T) {
	x := sampleSegment(t, memOptions(t))
	e := &x.entries[1]
	x.s.Pin()
	defer x.s.Unpin()
	dst := append(make([]byte, 0, 4+e.Size), "mine"...)
	r, buf, err := x.s.Read(dst, e.Offset, e.Size, "beta", 2)
	if err != nil || string(buf[:4]) != "mine" || len(buf) != 4+int(e.Size) || string(r.Value) != strings.Repeat("two", 30) {
		t.Fatalf("read %+v into %d bytes, %v", r, len(buf), err)
	}
	if &buf[0] != &dst[0] || &r.Key[0] != &buf[4+recordFixedSize] {
		t.Error("the record is not in the given buffer")
	}
	if _, buf, err = x.s.Read(dst[:4:4], e.Offset, e.Size, "beta", 2); err != nil || string(buf[:4]) != "mine" || &buf[0] == &dst[0] {
		t.Errorf("into a full buffer: %q, %v", buf, err)
	}
	if _, buf, err = x.s.Read(dst, e.Offset, e.Size, "beta", 3); err == nil || string(buf) != "mine" {
		t.Errorf("an error leaves %q, %v", buf, err)
	}
}

func TestReadDoesNotAllocate(t *testing.T) {
	x := sampleSegment(t, osOptions(t))
	e := &x.entries[1]
	buf := make([]byte, 0, e.Size)
	if n := testing.AllocsPerRun(100, func() {
		x.s.Pin()
		if _, _, err := x.s.Read(buf, e.Offset, e.Size, "beta", 2); err != nil {
			t.Error(err)
		}
		x.s.Unpin()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A read with the wrong place, size, key or revision returns an error, not the record there.
func TestReadRefuses(t *testing.T) {
	x := sampleSegment(t, memOptions(t))
	e := x.entries[1]
	x.s.Pin()
	defer x.s.Unpin()
	for name, c := range map[string]struct {
		offset int64
		size   uint32
		key    string
		rev    kv.Revision
		want   string
	}{
		"another key":           {e.Offset, e.Size, "beto", 2, `another record is there: key "beta", revision 2, bucket 7`},
		"another revision":      {e.Offset, e.Size, "beta", 3, "another record is there"},
		"a size too large":      {e.Offset, e.Size + 8, "beta", 2, "another record is there"},
		"a size too small":      {e.Offset, e.Size - 8, "beta", 2, string(errRecordShort)},
		"no size":               {e.Offset, 0, "beta", 2, "0 bytes are not within"},
		"inside a record":       {e.Offset + 8, e.Size - 8, "beta", 2, ""},
		"the file's header":     {0, 64, "beta", 2, "not within"},
		"before the file":       {-8, 64, "beta", 2, "not within"},
		"beyond the end":        {x.s.Size() - 56, 64, "beta", 2, "64 bytes are not within the segment's 24576"},
		"far beyond the end":    {1<<63 - 8, 64, "beta", 2, "not within"},
		"a size beyond the end": {e.Offset, 1<<32 - 8, "beta", 2, "not within"},
		"an index block":        {x.s.Desc().LastIndex, 64, "beta", 2, ""},
		"zeros":                 {x.s.Size() - 64, 64, "beta", 2, ""},
	} {
		r, buf, err := x.s.Read(nil, c.offset, c.size, c.key, c.rev)
		damage := (*kv.CorruptError)(nil)
		if !errors.As(err, &damage) || damage.File != x.s.path || damage.Offset != c.offset || !strings.Contains(damage.Detail, c.want) || buf != nil {
			t.Errorf("%s: %+v, %q, %v", name, r, buf, err)
		}
	}
}

// A sound record of another bucket was written to the wrong place.
func TestReadRefusesAnotherBucket(t *testing.T) {
	x := sampleSegment(t, memOptions(t))
	e := x.entries[0]
	r := x.records[e.Offset]
	r.BucketID++
	x.write(e.Offset, testSeed.AppendRecord(nil, &r))
	if got, err := x.read(&e); !errors.Is(err, kv.ErrCorrupt) || !strings.Contains(err.Error(), "bucket 8") {
		t.Errorf("read %+v, %v", got, err)
	}
	if got, _, damage := x.walk(); len(got) != len(x.entries)-1 || len(damage) != 1 || damage[0].Offset != e.Offset {
		t.Errorf("walked %+v, %v", got, damage)
	}
}

// A page that cannot be read is an error for the keys on this page.
func TestReadOfAFault(t *testing.T) {
	x := sampleSegment(t, osOptions(t))
	x.check()
	x.edit(func(f vfs.File) error { return f.Truncate(pageSize) })
	for i := range x.entries {
		e := &x.entries[i]
		_, err := x.read(e)
		damage := (*kv.CorruptError)(nil)
		switch {
		case e.Offset < pageSize && err != nil:
			t.Errorf("key %s on the readable page: %v", e.Key, err)
		case e.Offset > pageSize && !(errors.As(err, &damage) && errors.Is(err, vfs.ErrFault) && damage.Offset == e.Offset):
			t.Errorf("key %s on the unreadable page: %v", e.Key, err)
		}
	}
}

func TestReadWithoutAFile(t *testing.T) {
	x := sampleSegment(t, memOptions(t))
	if err := x.o.FS.Remove(x.s.path); err != nil {
		t.Fatal(err)
	}
	if _, err := x.read(&x.entries[0]); err == nil || errors.Is(err, kv.ErrCorrupt) {
		t.Errorf("got %v", err)
	}
	discard := func(*kv.CorruptError) {}
	if err := x.s.Entries(nil, discard, nil); err == nil {
		t.Error("Entries succeeded without a file")
	}
	if err := x.s.Walk(0, 1<<20, nil, discard); err == nil {
		t.Error("Walk succeeded without a file")
	}
}

func TestPins(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		x := sampleSegment(t, o)
		x.check()
		e := &x.entries[0]
		x.s.Pin()
		x.s.Pin()
		if m := x.s.dropMapping(); m != nil {
			t.Error("a pinned mapping was dropped")
		}
		released := x.s.Retire()
		x.s.Unpin()
		select {
		case <-released:
			t.Fatal("released while pinned")
		default:
		}
		if r, _, err := x.s.Read(nil, e.Offset, e.Size, "alpha", 1); err != nil || string(r.Value) != "one" {
			t.Errorf("read after retire: %+v, %v", r, err)
		}
		x.s.Unpin()
		<-released
		if x.s.mapping.Load() != nil {
			t.Error("still mapped")
		}
		for name, misuse := range map[string]func(){"pin after retire": x.s.Pin, "unpin without a pin": x.s.Unpin} {
			x.s.pins.Store(0)
			func() {
				defer func() {
					if e, _ := recover().(string); e != "segment: "+name {
						t.Errorf("%s: recovered %q", name, e)
					}
				}()
				misuse()
			}()
		}
	})
}

// Prefetch maps nothing, and takes any offset.
func TestPrefetch(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		x := sampleSegment(t, o)
		offsets := []int64{-1, 0, x.entries[0].Offset, x.s.size.Load(), x.s.limit - 1, x.s.limit, 1 << 62}
		for range 2 {
			for _, off := range offsets {
				x.s.Prefetch(off)
			}
			if x.s.mapping.Load() != nil {
				t.Fatal("Prefetch has mapped the file")
			}
			x.check()
			for _, off := range offsets {
				x.s.Prefetch(off)
			}
			if m := x.s.dropMapping(); m == nil || m.Close() != nil {
				t.Fatal("not mapped after a read")
			}
		}
	})
}

func TestDropMapping(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		x := sampleSegment(t, o)
		if m := x.s.dropMapping(); m != nil {
			t.Error("mapped before the first read")
		}
		for range 2 {
			x.check()
			m := x.s.dropMapping()
			if m == nil {
				t.Fatal("not mapped after a read")
			}
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// One goroutine appends, one writes index blocks, and readers read every record
// that was announced to them.
func TestConcurrentAppendIndexAndRead(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		x := create(t, o)
		var mu sync.RWMutex // as the engine's: pins and announcements
		announced := []Entry(nil)
		blocks := make(chan *Block, 1)
		done := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for b := range blocks {
				if err := errors.Join(x.s.WriteIndex(b), x.s.Sync()); err != nil {
					t.Error(err)
				}
			}
		})
		for range 2 {
			wg.Go(func() { readAnnounced(x, &mu, &announced, done) })
		}
		for i := range 2000 {
			x.put(fmt.Sprintf("key.%d", i), strings.Repeat("v", i%200))
			mu.Lock()
			announced = x.entries
			mu.Unlock()
			if i%50 == 49 {
				b, _ := x.s.BeginIndex()
				blocks <- b
			}
		}
		close(blocks)
		close(done)
		wg.Wait()
		x.seal()
		x.check()
	})
}

func readAnnounced(x *fixture, mu *sync.RWMutex, announced *[]Entry, done <-chan struct{}) {
	var buf []byte
	for n := 0; ; n++ {
		select {
		case <-done:
			return
		default:
		}
		mu.RLock()
		entries := *announced
		x.s.Pin()
		mu.RUnlock()
		if len(entries) > 0 {
			e := entries[(n*7919)%len(entries)]
			r, b, err := x.s.Read(buf[:0], e.Offset, e.Size, string(e.Key), e.Revision)
			if err != nil || len(r.Value) != int(e.ValueLen) || len(bytes.Trim(r.Value, "v")) != 0 {
				x.t.Errorf("read %s: %+v, %v", e.Key, r, err)
			}
			buf = b
		}
		x.s.Unpin()
	}
}

// Where the system refuses a mapping, records are read without one, and no descriptor stays
// open. The next read maps the file if it can.
func TestReadsWithoutMappings(t *testing.T) {
	o, r := roomOptions(t, MaxSize)
	x := create(t, o)
	x.put("a", "1")
	x.put("b", strings.Repeat("long ", 2000))
	x.index()
	r.noMaps = true
	files := r.files
	for range 3 {
		x.check()
	}
	if r.files != files || r.maps != 0 {
		t.Errorf("%d files are open, %d before; %d are mapped", r.files, files, r.maps)
	}
	r.noMaps = false
	x.check()
	if r.files != files || r.maps != 1 {
		t.Errorf("%d files are open, %d before; %d are mapped", r.files, files, r.maps)
	}
}
