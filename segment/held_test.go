package segment

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"

	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// scanned verifies that a scan finds every appended record with its value.
func (x *fixture) scanned(what string) {
	x.t.Helper()
	var c Scanner
	n := 0
	_, err := c.Scan(x.s, 0, func(offset int64, r *Record, _ int) bool {
		want := x.records[offset]
		if err := c.Value(r); err != nil || r.Revision != want.Revision || !bytes.Equal(r.Value, want.Value) {
			x.t.Errorf("%s: scanned %+v, %v, want %+v", what, *r, err, want)
		}
		n++
		return true
	}, func(e *kv.CorruptError) { x.t.Errorf("%s: %v", what, e) })
	if err != nil || n != len(x.entries) {
		x.t.Errorf("%s: scanned %d records of %d, %v", what, n, len(x.entries), err)
	}
}

// Records that are held are read, scanned and walked as if they were in the file, whatever part of
// them was written since.
func TestHeldRecordsAreRead(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		for seed := range uint64(6) {
			r := rand.New(rand.NewPCG(seed, 1))
			x := create(t, o)
			for range 60 {
				switch n := r.IntN(10); {
				case n < 6:
					x.holds = true
					x.put(fmt.Sprintf("key.%d", r.IntN(20)), strings.Repeat("v", r.IntN(3000)))
					continue // most states have several records that are held
				case n < 8:
					x.writeHeld()
					x.holds = false
					x.put("appended", "v")
				default:
					x.indexBeside(r)
				}
				what := fmt.Sprintf("seed %d, %d records", seed, len(x.entries))
				for i := range x.entries {
					e := &x.entries[i]
					if got, err := x.read(e); err != nil || !equal(got, x.records[e.Offset]) {
						t.Fatalf("%s: read %+v, %v, want %+v", what, got, err, x.records[e.Offset])
					}
				}
				x.scanned(what)
				if got, lost, damage := x.walk(); !reflect.DeepEqual(got, x.entries) || lost != nil || damage != nil {
					t.Fatalf("%s: walked %+v, %v, %v", what, got, lost, damage)
				}
			}
			x.writeHeld()
			x.index()
			x.check()
			x.reopen()
			x.check()
			<-x.s.Retire()
			if err := Remove(o, testNumber, func() {}); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func (x *fixture) writeHeld() {
	x.t.Helper()
	if _, err := x.s.WriteHeld(); err != nil || x.s.Holds() {
		x.t.Fatalf("%v, something is held: %t", err, x.s.Holds())
	}
}

// indexBeside writes an index block, and holds a record behind it meanwhile.
func (x *fixture) indexBeside(r *rand.Rand) {
	x.t.Helper()
	b, ok := x.s.BeginIndex()
	x.holds = true
	x.put("behind", strings.Repeat("b", r.IntN(100)))
	for i := range x.entries {
		if _, err := x.read(&x.entries[i]); err != nil {
			x.t.Error(err)
		}
	}
	x.writeHeld()
	if !ok {
		return
	}
	x.put("behind", "held beside the write of the block")
	if err := x.s.WriteIndex(b); err != nil {
		x.t.Fatal(err)
	}
}

// What needs the held records in the file panics where they are not.
func TestHeldRecordsAreWrittenFirst(t *testing.T) {
	x := create(t, memOptions(t))
	x.holds = true
	x.put("a", "1")
	block, _ := x.s.BeginIndex()
	for name, f := range map[string]func(){
		"append":    func() { x.holds = false; x.put("b", "2") },
		"index":     func() { _ = x.s.WriteIndex(block) },
		"the close": func() { _ = x.s.CloseFile() },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s goes before what is held", name)
				}
			}()
			f()
		}()
	}
	x.writeHeld()
	if err := x.s.WriteIndex(block); err != nil {
		t.Fatal(err)
	}
	x.check()
}

// A write of what is held that finds the disk full can be repeated, and one that fails otherwise is
// not: pages may be marked clean that are not on the disk. The records are read all the same.
func TestAFailedWriteOfWhatIsHeld(t *testing.T) {
	for _, c := range []struct {
		err     error
		repeats bool
	}{{syscall.ENOSPC, true}, {syscall.EIO, false}} {
		o := memOptions(t)
		f := faulty(&o)
		x := create(t, o)
		x.holds = true
		x.put("a", "1")
		x.put("b", "2")
		f.Inject(simdisk.FailKind(simdisk.OpWriteAt, c.err))
		if n, err := x.s.WriteHeld(); n != 0 || !errors.Is(err, c.err) {
			t.Errorf("%v: %d bytes, %v", c.err, n, err)
		}
		f.Inject(nil)
		n, err := x.s.WriteHeld()
		if c.repeats != (err == nil) || c.repeats != (n > 0) || c.repeats == x.s.Holds() {
			t.Errorf("%v: tried again: %d bytes, %v, something is held: %t", c.err, n, err, x.s.Holds())
		}
		for i := range x.entries {
			if _, err := x.read(&x.entries[i]); err != nil {
				t.Errorf("%v: %v", c.err, err)
			}
		}
		x.s.CloseUnsynced()
		if _, err := x.read(&x.entries[0]); err != nil {
			t.Errorf("%v, and the file is closed: %v", c.err, err)
		}
	}
}

// Readers, a goroutine that writes what is held and one that writes index blocks run beside the
// writer.
func TestReadsBesideHeldRecords(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		x := create(t, o)
		x.holds = true
		var mu sync.RWMutex
		var announced []Entry
		blocks, done := make(chan *Block, 100), make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for b := range blocks {
				if _, err := x.s.WriteHeld(); err != nil {
					t.Error(err)
				}
				if err := errors.Join(x.s.WriteIndex(b), x.s.Sync()); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					if _, err := x.s.WriteHeld(); err != nil {
						t.Error(err)
					}
				}
			}
		})
		for range 2 {
			wg.Go(func() { readAnnounced(x, &mu, &announced, done) })
		}
		for i := range 1000 {
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
		x.writeHeld()
		x.seal()
		x.check()
	})
}
