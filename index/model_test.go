package index

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"kvd/kv"
	"kvd/kv/digest"
)

// model is what the index should be: per key its versions, oldest first.
type model map[string][]Version

func (m model) copy() model {
	c := make(model, len(m))
	for k, vs := range m {
		c[k] = slices.Clone(vs)
	}
	return c
}

func (m model) drop(key string, gone func(Version) bool) (dropped []Version) {
	var kept []Version
	for _, v := range m[key] {
		if gone(v) {
			dropped = append(dropped, v)
		} else {
			kept = append(kept, v)
		}
	}
	if m[key] = kept; len(kept) == 0 {
		delete(m, key)
	}
	return dropped
}

func (m model) newest(key string) Version { return m[key][len(m[key])-1] }

// pair is an index and its model, driven by one source of randomness.
type pair struct {
	t         testing.TB
	rng       *rand.Rand
	x         *Index
	m         model
	keys      []string
	next      kv.Revision
	now       int64 // of the agendas
	delayUpTo int64 // as Index.Delay takes them
	delay     int64
	snapshots []pairSnapshot
	history   int // versions that most puts keep; 0: few
}

type pairSnapshot struct {
	s *Snapshot
	m model
}

// testKeys returns n keys of several shapes: short, sharing long prefixes,
// prefixes of each other, and the longest.
func testKeys(rng *rand.Rand, n int) []string {
	seen := map[string]bool{}
	for len(seen) < n {
		var k string
		switch rng.IntN(5) {
		case 0:
			k = fmt.Sprintf("%x", rng.Uint64())[:1+rng.IntN(15)]
		case 1:
			k = fmt.Sprintf("service.eu.orders.%d", rng.IntN(10*n))
		case 2:
			k = strings.Repeat("a", 1+rng.IntN(min(n, 40)))
		case 3:
			k = strings.Repeat("long/", 203) + fmt.Sprintf("%09d", rng.IntN(10*n))
		case 4:
			k = fmt.Sprintf("service.eu.o.%d.%s", rng.IntN(n), strings.Repeat("x", rng.IntN(300)))
		}
		seen[k] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

func newPair(t testing.TB, seed uint64, keys int) *pair {
	rng := rand.New(rand.NewPCG(seed, 1))
	p := &pair{t: t, rng: rng, x: New(), m: model{}, keys: testKeys(rng, keys)}
	p.x.supply.large = rng.IntN(2) == 0
	return p
}

func (p *pair) key() string { return p.keys[p.rng.IntN(len(p.keys))] }

// segment is any, but most are of a few.
func (p *pair) segment() uint32 {
	if p.rng.IntN(4) == 0 {
		return p.rng.Uint32N(segmentLimit)
	}
	return p.rng.Uint32N(8)
}

func (p *pair) version() Version {
	p.next += 1 + kv.Revision(p.rng.IntN(3))
	v := Version{
		Revision: p.next,
		Created:  int64(p.next) * 1000,
		Segment:  p.segment(),
		Offset:   int64(p.rng.Uint32N(offsetLimit/offsetAlign)) * offsetAlign,
		Size:     p.rng.Uint32N(1000),
		Op:       kv.Operation(1 + p.rng.IntN(3)),
	}
	if v.Op != kv.Put {
		v.Reason = kv.MarkerReason(1 + p.rng.IntN(2))
	}
	if p.rng.IntN(4) == 0 {
		v.Deadline = p.deadline()
	}
	return v
}

// floor picks a floor for key: nothing, some or all of the versions go.
func (p *pair) floor(key string) kv.Revision {
	vs := p.m[key]
	if len(vs) == 0 {
		return p.next
	}
	if p.history > 0 && p.rng.IntN(100) > 0 {
		return vs[max(0, len(vs)+1-p.history)].Revision
	}
	switch p.rng.IntN(4) {
	case 0:
		return 0
	case 1:
		return vs[p.rng.IntN(len(vs))].Revision
	case 2:
		return vs[max(0, len(vs)-4)].Revision
	}
	return vs[len(vs)-1].Revision + 1
}

func (p *pair) apply(load bool) {
	key, v := p.key(), p.version()
	floor := p.floor(key)
	want := p.m.drop(key, func(v Version) bool { return v.Revision < floor })
	p.m[key] = append(p.m[key], v)
	if load {
		if !p.x.Load(Hash(key), []byte(key), v, floor) {
			p.t.Fatalf("Load of revision %d of %q refused", v.Revision, key)
		}
		return
	}
	p.dropping(want, func(dropped func(Version)) { p.x.Apply(Hash(key), key, v, floor, dropped) })
}

func (p *pair) trim() {
	key := p.key()
	floor := p.floor(key)
	want := p.m.drop(key, func(v Version) bool { return v.Revision < floor })
	p.dropping(want, func(dropped func(Version)) { p.x.Trim(Hash(key), key, floor, dropped) })
}

func (p *pair) remove() {
	key := p.key()
	rev := p.next + 1
	if vs := p.m[key]; len(vs) > 0 && p.rng.IntN(8) > 0 {
		rev = vs[p.rng.IntN(len(vs))].Revision
	}
	want := p.m.drop(key, func(v Version) bool { return v.Revision == rev })
	p.dropping(want, func(dropped func(Version)) {
		if got := p.x.Remove(Hash(key), key, rev, dropped); got != (len(want) == 1) {
			p.t.Fatalf("Remove of revision %d of %q: %v", rev, key, got)
		}
	})
}

func (p *pair) move() {
	key, to := p.key(), p.version().Place()
	vs := p.m[key]
	if len(vs) == 0 {
		if p.x.Move(Hash(key), key, 1, Place{}, to) {
			p.t.Fatalf("Move of %q, which is absent", key)
		}
		return
	}
	v := &vs[p.rng.IntN(len(vs))]
	if p.x.Move(Hash(key), key, v.Revision, Place{Segment: v.Segment ^ 1, Offset: v.Offset}, to) {
		p.t.Fatalf("Move of %q from where it is not", key)
	}
	if !p.x.Move(Hash(key), key, v.Revision, v.Place(), to) {
		p.t.Fatalf("Move of revision %d of %q refused", v.Revision, key)
	}
	v.Segment, v.Offset = to.Segment, to.Offset
	if p.rng.IntN(2) == 0 {
		v.Size = p.version().Size
		if !p.x.Resize(Hash(key), key, v.Revision, v.Size) || p.x.Resize(Hash(key), key, p.next+1, 1) {
			p.t.Fatalf("Resize of revision %d of %q refused, or that of one that is absent done", v.Revision, key)
		}
	}
	for _, s := range p.snapshots { // they see the move if the present shares the version
		for i, w := range s.m[key] {
			if w.Revision == v.Revision {
				s.m[key][i].Segment, s.m[key][i].Offset = anyPlace, 0
			}
		}
	}
}

// anyPlace in a snapshot's model: moved since, both places and sizes are right.
const anyPlace = 1 << 31

func (p *pair) dropping(want []Version, do func(func(Version))) {
	p.t.Helper()
	var got []Version
	do(func(v Version) { got = append(got, v) })
	slices.SortFunc(got, func(a, b Version) int { return int(a.Revision) - int(b.Revision) })
	if !slices.Equal(got, want) {
		p.t.Fatalf("dropped %v, want %v", got, want)
	}
}

func (p *pair) snapshot() {
	p.snapshots = append(p.snapshots, pairSnapshot{p.x.Snapshot(), p.m.copy()})
}

func (p *pair) release(i int) {
	p.check(p.snapshots[i])
	p.snapshots[i].s.Release()
	p.snapshots[i].s.Release() // does nothing
	p.snapshots = slices.Delete(p.snapshots, i, i+1)
}

// step does one random thing.
func (p *pair) step() {
	switch n := p.rng.IntN(100); {
	case n < 60:
		p.apply(false)
	case n < 75:
		p.trim()
	case n < 85:
		p.remove()
	case n < 93:
		p.move()
	case n < 95:
		p.advance()
	case n < 97 && len(p.snapshots) < 5:
		p.snapshot()
	case n < 98:
		p.image()
	case len(p.snapshots) > 0:
		p.release(p.rng.IntN(len(p.snapshots)))
	}
}

// checkKey compares everything the index says of one key.
func (p *pair) checkKey(key string) {
	p.t.Helper()
	x, hash, vs := p.x, Hash(key), p.m[key]
	newest, ok := x.Newest(hash, key)
	if ok != (len(vs) > 0) || ok && newest != vs[len(vs)-1] {
		p.t.Fatalf("Newest(%q) = %v, %v, want the last of %v", key, newest, ok, vs)
	}
	if got := x.Versions(nil, hash, key); !slices.Equal(got, vs) {
		p.t.Fatalf("Versions(%q) = %v, want %v", key, got, vs)
	}
	for keep := range len(vs) + 2 {
		want := kv.Revision(0)
		switch {
		case len(vs) > 0 && keep == 0:
			want = vs[len(vs)-1].Revision + 1
		case len(vs) > 0:
			want = vs[max(0, len(vs)-keep)].Revision
		}
		if got := x.FloorAfter(hash, key, keep); got != want {
			p.t.Fatalf("FloorAfter(%q, %d) = %d, want %d", key, keep, got, want)
		}
	}
	for i, v := range vs {
		below, ok := Version{}, i > 0
		if ok {
			below = vs[i-1]
		}
		if got, found := x.atOrBelow(hash, key, v.Revision-1); found != ok || got != below {
			p.t.Fatalf("AtOrBelow(%q, %d) = %v, want %v", key, v.Revision-1, got, below)
		}
		if got, found := x.At(hash, key, v.Revision-1); found != (ok && below.Revision == v.Revision-1) {
			p.t.Fatalf("At(%q, %d) = %v", key, v.Revision-1, got)
		}
		if got, found := x.atOrBelow(hash, key, v.Revision); !found || got != v {
			p.t.Fatalf("AtOrBelow(%q, %d) = %v, want %v", key, v.Revision, got, v)
		}
		if got, found := x.At(hash, key, v.Revision); !found || got != v {
			p.t.Fatalf("At(%q, %d) = %v, want %v", key, v.Revision, got, v)
		}
	}
	if got, ok := x.atOrBelow(hash, key, p.next+9); ok != (len(vs) > 0) || ok && got != vs[len(vs)-1] {
		p.t.Fatalf("AtOrBelow(%q, %d) = %v, want the last of %v", key, p.next+9, got, vs)
	}
}

// checkCounts compares the totals.
func (p *pair) checkCounts() {
	p.t.Helper()
	keys, versions, size := 0, 0, int64(0)
	var sum kv.Digest
	uses := map[uint32]Use{}
	for k, vs := range p.m {
		if p.m.newest(k).Op == kv.Put {
			keys++
		}
		versions += len(vs)
		for _, v := range vs {
			sum = sum.Add(digest.Of(k, v.Revision, v.Created, v.Op))
			size += int64(v.Size)
			u := uses[v.Segment]
			uses[v.Segment] = Use{Versions: u.Versions + 1, Bytes: u.Bytes + int64(v.Size)}
		}
	}
	x := p.x
	for segment, want := range uses {
		if got := x.Use(segment); got != want {
			p.t.Fatalf("Use of segment %d is %+v, want %+v", segment, got, want)
		}
		if got, want := x.Use(segment^1), uses[segment^1]; got != want {
			p.t.Fatalf("Use of segment %d is %+v, want %+v", segment^1, got, want)
		}
	}
	if x.Keys() != keys || x.Len() != len(p.m) || x.Count() != versions || x.Bytes() != size {
		p.t.Fatalf("Keys %d Len %d Count %d Bytes %d, want %d %d %d %d",
			x.Keys(), x.Len(), x.Count(), x.Bytes(), keys, len(p.m), versions, size)
	}
	if x.Digest() != sum {
		p.t.Fatalf("Digest %v, want %v", x.Digest(), sum)
	}
}

// checkAll compares the whole index.
func (p *pair) checkAll() {
	p.t.Helper()
	p.checkCounts()
	seen := model{}
	p.x.All(func(key []byte, newest Version) bool {
		seen[string(key)] = append(seen[string(key)], newest)
		return true
	})
	if len(seen) != len(p.m) {
		p.t.Fatalf("All yielded %d keys, want %d", len(seen), len(p.m))
	}
	for k, vs := range p.m {
		if got := seen[k]; len(got) != 1 || got[0] != vs[len(vs)-1] {
			p.t.Fatalf("All yielded %v for %q, want the last of %v", got, k, vs)
		}
	}
	checkTree(p.t, p.x)
	p.checkAgendas()
	s := pairSnapshot{p.x.Snapshot(), p.m.copy()}
	p.check(s)
	s.s.Release()
}

// check compares a snapshot with the model's copy of its time.
func (p *pair) check(s pairSnapshot) {
	p.t.Helper()
	keys := slices.Sorted(maps.Keys(s.m))
	if s.s.Len() != len(keys) {
		p.t.Fatalf("snapshot has %d keys, want %d", s.s.Len(), len(keys))
	}
	from := p.key()[:1]
	for _, from := range []string{"", from, p.key(), p.key() + "0"} {
		i, _ := slices.BinarySearch(keys, from)
		s.s.Ascend(from, func(key []byte, newest Version) bool {
			if i == len(keys) || string(key) != keys[i] {
				p.t.Fatalf("Ascend(%q) yielded %q as number %d of %d", from, key, i, len(keys))
			}
			if want := s.m.newest(keys[i]); !same(newest, want) {
				p.t.Fatalf("Ascend(%q) yielded %v for %q, want %v", from, newest, key, want)
			}
			i++
			return true
		})
		if i != len(keys) {
			p.t.Fatalf("Ascend(%q) ended before %q", from, keys[i])
		}
	}
	p.checkDescend(s, keys)
	p.checkPrefix(s, from)
	for range 20 {
		key := p.key()
		got := s.s.Versions(nil, key)
		if !slices.EqualFunc(got, s.m[key], same) {
			p.t.Fatalf("snapshot's Versions(%q) = %v, want %v", key, got, s.m[key])
		}
		if v, ok := s.s.Newest(key); ok != (len(s.m[key]) > 0) || ok && !same(v, s.m.newest(key)) {
			p.t.Fatalf("snapshot's Newest(%q) = %v, want the last of %v", key, v, s.m[key])
		}
	}
}

// checkDescend walks down from a few places, between keys, at keys and above all of them.
func (p *pair) checkDescend(s pairSnapshot, keys []string) {
	p.t.Helper()
	for _, to := range []string{"", p.key(), p.key() + "0", "\xff", string(make([]byte, 1))} {
		i, _ := slices.BinarySearch(keys, to)
		if to == "" {
			i = len(keys)
		}
		s.s.Descend(to, func(key []byte, newest Version) bool {
			if i--; i < 0 || string(key) != keys[i] {
				p.t.Fatalf("Descend(%q) yielded %q as number %d of %d", to, key, i, len(keys))
			}
			if want := s.m.newest(keys[i]); !same(newest, want) {
				p.t.Fatalf("Descend(%q) yielded %v for %q, want %v", to, newest, key, want)
			}
			return true
		})
		if i > 0 {
			p.t.Fatalf("Descend(%q) ended before %q", to, keys[i-1])
		}
	}
}

func (p *pair) checkPrefix(s pairSnapshot, prefix string) {
	p.t.Helper()
	want := 0
	for k := range s.m {
		if strings.HasPrefix(k, prefix) {
			want++
		}
	}
	got := 0
	s.s.AscendPrefix(prefix, func(key []byte, _ Version) bool {
		if !bytes.HasPrefix(key, []byte(prefix)) {
			p.t.Fatalf("AscendPrefix(%q) yielded %q", prefix, key)
		}
		got++
		return true
	})
	if got != want {
		p.t.Fatalf("AscendPrefix(%q) yielded %d keys, want %d", prefix, got, want)
	}
	s.s.AscendVersions(prefix, func(key []byte, versions []Version) bool {
		if !slices.EqualFunc(versions, s.m[string(key)], same) || !bytes.HasPrefix(key, []byte(prefix)) {
			p.t.Fatalf("AscendVersions(%q) yielded %v of %q, want %v", prefix, versions, key, s.m[string(key)])
		}
		got--
		return true
	})
	if got != 0 {
		p.t.Fatalf("AscendVersions(%q) missed %d keys", prefix, got)
	}
}

func same(got, want Version) bool {
	if want.Segment == anyPlace {
		want.Segment, want.Offset, want.Size = got.Segment, got.Offset, got.Size
	}
	return got == want
}

func TestModel(t *testing.T) {
	for seed := range uint64(24) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			p := newPair(t, seed, 1<<(seed%9)+2)
			for range 1500 {
				p.step()
				if p.rng.IntN(10) == 0 {
					p.checkCounts()
					p.checkKey(p.key())
				}
				if p.rng.IntN(200) == 0 {
					p.checkAll()
				}
			}
			for len(p.snapshots) > 0 {
				p.release(0)
			}
			p.checkAll()
			p.checkNothingLeaks()
		})
	}
}

// checkNothingLeaks drops every key and expects every pool to be empty.
func (p *pair) checkNothingLeaks() {
	p.t.Helper()
	for key := range p.m {
		p.x.Trim(Hash(key), key, p.next+1, nil)
	}
	for !p.x.queue.empty() {
		p.x.drain()
	}
	if x := p.x; x.Deadlines() != 0 || x.rows.held != 0 || x.keys.held != 0 || x.heads.held != 0 || len(x.rings) != 0 || x.Len() != 0 || x.tree.count != 0 {
		p.t.Fatalf("after all keys went %d deadlines, %d rows, %d units of keys, %d heads, %d rings, %d slots and %d items are held",
			x.Deadlines(), x.rows.held, x.keys.held, x.heads.held, len(x.rings), x.Len(), x.tree.count)
	}
}

func TestBuildTreeBesideWrites(t *testing.T) {
	for seed := range uint64(14) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			p := newPair(t, seed, 1<<(seed%12)+2)
			if seed%2 == 0 {
				p.x.Grow(len(p.keys))
			}
			for range 2 * len(p.keys) {
				p.apply(true)
			}
			p.checkCounts()
			if seed%3 > 0 { // some keys may be removed after they were put in order
				order := p.x.Order()
				if seed%3 == 2 {
					p.trim()
					p.remove()
					p.apply(false)
				}
				p.x.UseOrder(order)
			}
			for !p.x.BuildTree(1 + p.rng.IntN(16)) {
				switch p.rng.IntN(4) {
				case 0:
					p.apply(false)
				case 1:
					p.trim()
				case 2:
					p.remove()
				}
				p.checkKey(p.key())
				if len(p.keys) > 1000 && p.rng.IntN(200) == 0 {
					break // the snapshot of checkAll does the rest
				}
			}
			p.checkAll()
			for range 500 {
				p.step()
			}
			p.checkAll()
			for len(p.snapshots) > 0 {
				p.release(0)
			}
			p.checkNothingLeaks()
		})
	}
}
