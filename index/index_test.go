package index

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"kvd/kv"
)

// TestSnapshotBesideWriter reads snapshots without the lock while a writer goes
// on; under the race detector it finds every word that both touch.
func TestSnapshotBesideWriter(t *testing.T) {
	const wanted = 60 // snapshots a reader reads
	p := newPair(t, 99, 300)
	var (
		mu      sync.RWMutex // the engine's
		readers sync.WaitGroup
		done    atomic.Int32
	)
	read := func() {
		mu.Lock()
		s, m := p.x.Snapshot(), p.m.copy()
		mu.Unlock()
		got := model{}
		s.Ascend("", func(key []byte, newest Version) bool {
			runtime.Gosched() // let the writer in
			got[string(key)] = s.Versions(nil, string(key))
			if len(got[string(key)]) == 0 {
				t.Errorf("%q has no versions", key)
			}
			return true
		})
		mu.Lock()
		s.Release()
		mu.Unlock()
		if !maps.EqualFunc(got, m, func(a, b []Version) bool { return slices.EqualFunc(a, b, sameButPlace) }) {
			t.Errorf("snapshot %v, want %v", got, m)
		}
		mu.RLock()
		for key := range m {
			p.x.Newest(Hash(key), key)
		}
		mu.RUnlock()
	}
	for range 2 {
		readers.Go(func() {
			defer done.Add(1)
			for range wanted {
				read()
			}
		})
	}
	for done.Load() < 2 {
		mu.Lock()
		switch n := p.rng.IntN(10); {
		case n < 6:
			p.apply(false)
		case n < 7:
			p.trim()
		case n < 8:
			p.remove()
		default:
			p.move()
		}
		mu.Unlock()
	}
	readers.Wait()
	p.checkAll()
	p.checkNothingLeaks()
}

// sameButPlace compares what a Move and a Resize leave alone.
func sameButPlace(a, b Version) bool {
	a.Segment, a.Offset, a.Size = b.Segment, b.Offset, b.Size
	return a == b
}

// TestUnlinkedHeadIsKeptForItsReader unlinks a head between a reader's
// look at the top and its look at the head.
func TestUnlinkedHeadIsKeptForItsReader(t *testing.T) {
	x := New()
	put(x, "key", 1)
	older := x.Snapshot()
	put(x, "key", 2)
	reader := x.Snapshot()
	entry := find(reader.leaves, &x.keys, "key")
	top := x.keys.top(entry).Load()
	older.Release()
	put(x, "other", 3)
	if x.keys.top(entry).Load() == top {
		t.Fatal("the head is not unlinked")
	}
	if row, _ := x.heads.as(top, reader.epoch); row == 0 || x.rows.revision(row) != 2 {
		t.Fatalf("the reader finds row %d", row)
	}
	reader.Release()
	if x.heads.held != 0 {
		t.Fatalf("%d heads are held", x.heads.held)
	}
}

// TestSnapshotKeepsSeparators reads a snapshot of a tree all of whose nodes were
// merged away since, and their separators' room taken by other keys.
func TestSnapshotKeepsSeparators(t *testing.T) {
	const n = 5000
	x := New()
	for i := range n {
		put(x, fmt.Sprintf("a%d", i), kv.Revision(i+1))
	}
	s := x.Snapshot()
	for i := range n {
		drop(x, fmt.Sprintf("a%d", i))
	}
	for i := range n {
		put(x, fmt.Sprintf("b%d", i), kv.Revision(n+i+1))
	}
	for i := range n {
		key := fmt.Sprintf("a%d", i)
		if v, ok := s.Newest(key); !ok || v.Revision != kv.Revision(i+1) {
			t.Fatalf("%q: %v, %v", key, v, ok)
		}
	}
	s.Release()
}

func TestFull(t *testing.T) {
	x := New()
	if x.Full() {
		t.Fatal("an empty index is full")
	}
	x.rows.held = poolLimit - 1
	if !x.Full() {
		t.Fatal("not full with 2^31 rows")
	}
	x.rows.held, x.keys.held = 0, arenaLimit-1
	if !x.Full() {
		t.Fatal("not full with 32 GiB of keys")
	}
}

// TestMemoryIsReclaimed replaces 100,000 keys over and over by others, shorter
// and longer, and expects room to be used again.
func TestMemoryIsReclaimed(t *testing.T) {
	n := many(100_000)
	rng := rand.New(rand.NewPCG(8, 8))
	x := New()
	rev := kv.Revision(0)
	var first, most int64
	for cycle, width := range []int{64, 20, 64, 36, 50, 64} {
		keys := make([]string, n)
		for i := range keys {
			keys[i] = fmt.Sprintf("%d.%0*x", cycle, width-rng.IntN(8), i)
			rev++
			put(x, keys[i], rev)
		}
		var s *Snapshot
		if cycle%2 == 0 { // half of the cycles go under a snapshot
			s = x.Snapshot()
		}
		for _, i := range rng.Perm(n) {
			rev++
			x.Apply(Hash(keys[i]), keys[i], Version{Revision: rev, Op: kv.Purge}, rev, nil)
			drop(x, keys[i])
		}
		if s != nil {
			s.Release()
		}
		for !x.queue.empty() {
			x.drain()
		}
		if cycle == 0 {
			first = x.memory()
		}
		most = max(most, x.memory())
	}
	if most > first*11/10 {
		t.Fatalf("%d bytes after the first cycle, %d later", first, most)
	}
	if x.rows.held+x.heads.held+int(x.keys.held) != 0 {
		t.Fatalf("%d rows, %d heads, %d units of keys are held", x.rows.held, x.heads.held, x.keys.held)
	}
}

// TestReleaseIsPaidInParts drops much under a snapshot and expects that no
// write after its release frees it all.
func TestReleaseIsPaidInParts(t *testing.T) {
	const n = 10_000
	x := New()
	for i := range n {
		put(x, fmt.Sprint(i), kv.Revision(i+1))
	}
	s := x.Snapshot()
	for i := range n {
		drop(x, fmt.Sprint(i))
	}
	s.Release()
	held := x.rows.held
	if held < n-2*drainLeast {
		t.Fatalf("%d rows held after the release", held)
	}
	writes := 0
	for ; !x.queue.empty(); writes++ {
		put(x, "key", kv.Revision(2*n+writes))
		if freed := held - x.rows.held; freed > 2*drainLeast {
			t.Fatalf("one write freed %d rows", freed)
		}
		held = x.rows.held
	}
	if writes < n/(2*drainLeast) {
		t.Fatalf("freed by %d writes", writes)
	}
}

// TestBudget holds the index to the memory that it promises.
func TestBudget(t *testing.T) {
	const budget = 95 // bytes a key above its own
	for _, n := range []int{100_000, 120_000, 140_000, 160_000, 180_000} {
		n = many(n)
		x := New()
		rng := rand.New(rand.NewPCG(9, uint64(n)))
		for i := range n {
			put(x, fmt.Sprintf("%016x", rng.Uint64()), kv.Revision(i+1))
		}
		if got := float64(x.memory())/float64(n) - 16; got > budget {
			t.Errorf("%d keys take %.1f bytes each", n, got)
		}
	}
	if got := New().memory(); got > 8<<10 {
		t.Errorf("an empty index takes %d bytes", got)
	}
}

// TestEqualHashes gives thousands of keys one hash: they share a bin, and the
// table does not grow in the hope of telling them apart.
func TestEqualHashes(t *testing.T) {
	n := many(3000)
	x := New()
	for i := range n {
		key := fmt.Sprint(i)
		x.Apply(1<<63, key, Version{Revision: kv.Revision(i + 1), Op: kv.Put}, 0, nil)
	}
	if got := x.table.memory(); got > int64(n)*64+16<<10 {
		t.Fatalf("the table of %d keys takes %d bytes", n, got)
	}
	for i := range n {
		if v, ok := x.Newest(1<<63, fmt.Sprint(i)); !ok || v.Revision != kv.Revision(i+1) {
			t.Fatalf("key %d: %v, %v", i, v, ok)
		}
	}
	for i := range n {
		x.Trim(1<<63, fmt.Sprint(i), kv.Revision(n)+1, nil)
	}
	if x.Len() != 0 {
		t.Fatalf("%d keys left", x.Len())
	}
}

// TestAllMayRemove trims, removes and moves what All shows.
func TestAllMayRemove(t *testing.T) {
	const n = 5000
	x := New()
	for i := range n {
		put(x, fmt.Sprint(i), kv.Revision(i+1))
	}
	seen := map[string]bool{}
	x.All(func(key []byte, newest Version) bool {
		name := string(key)
		if seen[name] {
			t.Fatalf("%q came twice", name)
		}
		seen[name] = true
		switch newest.Revision % 4 {
		case 0:
			x.Trim(Hash(name), name, newest.Revision+1, nil)
		case 1:
			x.Remove(Hash(name), name, newest.Revision, nil)
		case 2:
			x.Move(Hash(name), name, newest.Revision, newest.Place(), Place{Segment: 7})
		}
		return true
	})
	if len(seen) != n || x.Len() != n/2 {
		t.Fatalf("saw %d of %d keys, %d are left", len(seen), n, x.Len())
	}
	calls := 0
	x.All(func([]byte, Version) bool { calls++; return calls < 3 })
	if calls != 3 {
		t.Fatalf("All went on for %d calls", calls)
	}
}

func TestLoadRefusesWhatIsNotNewer(t *testing.T) {
	x := New()
	key := []byte("key")
	hash := Hash("key")
	if !x.Load(hash, key, Version{Revision: 5, Op: kv.Put}, 0) {
		t.Fatal("the first version was refused")
	}
	for _, rev := range []kv.Revision{4, 5} {
		if x.Load(hash, key, Version{Revision: rev, Op: kv.Delete}, 0) {
			t.Fatalf("revision %d was loaded after 5", rev)
		}
	}
	if v, _ := x.Newest(hash, "key"); v.Revision != 5 || x.Count() != 1 {
		t.Fatalf("newest is %v of %d", v, x.Count())
	}
}

func TestReadsDoNotAllocate(t *testing.T) {
	x := New()
	put(x, "a.key", 1)
	hash := Hash("a.key")
	if n := testing.AllocsPerRun(100, func() {
		x.Newest(hash, "a.key")
		x.At(hash, "a.key", 1)
		x.atOrBelow(hash, "a.key", 7)
		x.FloorAfter(hash, "a.key", 1)
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func TestBrokenPromisesPanic(t *testing.T) {
	good := Version{Revision: 9, Op: kv.Put}
	for name, c := range map[string]struct {
		key     string
		version func(*Version)
	}{
		"empty key":             {"", func(*Version) {}},
		"long key":              {strings.Repeat("k", kv.MaxKeySize+1), func(*Version) {}},
		"segment out of range":  {"k", func(v *Version) { v.Segment = segmentLimit }},
		"offset out of range":   {"k", func(v *Version) { v.Offset = offsetLimit }},
		"negative offset":       {"k", func(v *Version) { v.Offset = -8 }},
		"offset not aligned":    {"k", func(v *Version) { v.Offset = 12 }},
		"no operation":          {"k", func(v *Version) { v.Op = 0 }},
		"unknown operation":     {"k", func(v *Version) { v.Op = 4 }},
		"unknown reason":        {"k", func(v *Version) { v.Reason = 4 }},
		"revision not newer":    {"old", func(v *Version) { v.Revision = 3 }},
		"revision present":      {"old", func(v *Version) { v.Revision = 8 }},
		"zero revision present": {"old", func(v *Version) { v.Revision = 0 }},
	} {
		t.Run(name, func(t *testing.T) {
			x := New()
			put(x, "old", 8)
			v := good
			c.version(&v)
			defer func() {
				if recover() == nil {
					t.Fatal("no panic")
				}
			}()
			x.Apply(Hash(c.key), c.key, v, 0, nil)
		})
	}
}

// TestLimits stores the largest of everything.
func TestLimits(t *testing.T) {
	x := New()
	key := strings.Repeat("k", kv.MaxKeySize)
	v := Version{
		Revision: 1<<64 - 1, Created: 1<<63 - 1, Deadline: -1 << 63, Segment: segmentLimit - 1, Offset: offsetLimit - 8,
		Size: 1<<32 - 1, Op: kv.Purge, Reason: kv.ReasonExpiry,
	}
	x.Apply(Hash(key), key, v, 0, nil)
	if got, ok := x.Newest(Hash(key), key); !ok || got != v {
		t.Fatalf("got %v, want %v", got, v)
	}
}

// bytesSource makes random choices of a fuzzer's bytes. It goes on after the
// last, because rand draws until a number suits it.
type bytesSource struct {
	bytes []byte
	drawn uint64
}

func (s *bytesSource) Uint64() uint64 {
	s.drawn++
	b := byte(s.drawn * 151)
	if len(s.bytes) > 0 {
		b, s.bytes = s.bytes[0], s.bytes[1:]
	}
	return uint64(b)*0x0101010101010101 + s.drawn
}

func FuzzModel(f *testing.F) {
	for seed := range byte(4) {
		program := make([]byte, 200)
		for i := range program {
			program[i] = byte(i)*(2*seed+37) + seed
		}
		f.Add(program)
	}
	f.Fuzz(func(t *testing.T, program []byte) {
		p := newPair(t, 1, 12)
		source := &bytesSource{bytes: program}
		p.rng = rand.New(source)
		for len(source.bytes) > 0 {
			p.step()
		}
		for len(p.snapshots) > 0 {
			p.release(0)
		}
		p.checkAll()
		p.checkNothingLeaks()
	})
}
