package index

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"kvd/kv"
)

// deadline picks one: any at all, or one that is near, past or the present.
func (p *pair) deadline() int64 {
	if p.rng.IntN(4) == 0 {
		return max(1, p.rng.Int64())
	}
	return max(1, p.now+p.rng.Int64N(1<<p.rng.IntN(40))-p.rng.Int64N(1<<p.rng.IntN(30)))
}

// advance lets time pass, a few versions at a time.
func (p *pair) advance() {
	p.now += p.rng.Int64N(1 << p.rng.IntN(36))
	for a := range agendas {
		for range p.rng.IntN(4) {
			p.x.Advance(a, p.now, 1+p.rng.IntN(3))
		}
	}
	if p.rng.IntN(8) == 0 {
		p.delayUpTo, p.delay = int64(p.rng.Uint64N(uint64(p.next)+1))*1000, p.rng.Int64N(1<<p.rng.IntN(63))
		p.x.Delay(p.delayUpTo, p.delay)
	}
}

// dueAt returns when a version is due.
func (p *pair) dueAt(v Version) int64 {
	if v.Created > p.delayUpTo {
		return v.Deadline
	}
	return v.Deadline + min(p.delay, math.MaxInt64-v.Deadline)
}

// checkAgendas compares what is due with the versions that are past their
// deadline, and expects nothing before NextDeadline.
func (p *pair) checkAgendas() {
	p.t.Helper()
	var want [agendas][]string
	n := 0
	for key, vs := range p.m {
		for i, v := range vs {
			a := ExpiringMarkers
			if v.Op == kv.Put {
				a = ExpiringPuts
			}
			if v.Deadline == 0 || a == ExpiringPuts && i < len(vs)-1 || v.Op == kv.Delete {
				continue
			}
			n++
			if p.dueAt(v) > p.now {
				continue
			}
			want[a] = append(want[a], fmt.Sprint(key, v))
		}
	}
	if got := p.x.Deadlines(); got != n {
		p.t.Fatalf("%d deadlines, want %d", got, n)
	}
	for a := range agendas {
		for !p.x.Advance(a, p.now, 1+p.rng.IntN(9)) {
		}
		var got []string
		p.x.Due(a, func(key []byte, v Version) bool {
			got = append(got, fmt.Sprint(string(key), v))
			return true
		})
		slices.Sort(got)
		slices.Sort(want[a])
		if !slices.Equal(got, want[a]) {
			p.t.Fatalf("at %d on agenda %d due are\n%v, want\n%v", p.now, a, got, want[a])
		}
		if at, ok := p.x.nextDeadline(a); ok && (at > p.now) == (len(got) > 0) {
			p.t.Fatalf("at %d on agenda %d the next deadline is not before %d, and %d are due", p.now, a, at, len(got))
		}
	}
}

// TestAgendasAreExact holds versions with deadlines of every size against a
// clock that stops at each of them.
func TestAgendasAreExact(t *testing.T) {
	x := New()
	var deadlines []int64
	for shift := range 63 {
		for _, d := range []int64{-1, 0, 1} {
			deadlines = append(deadlines, max(1, int64(1)<<shift+d))
		}
	}
	deadlines = append(deadlines, math.MaxInt64)
	for i, d := range deadlines {
		key := fmt.Sprint("key", i)
		x.Apply(Hash(key), key, Version{Revision: kv.Revision(i + 1), Op: kv.Put, Deadline: d}, 0, nil)
	}
	due := func() (n int) {
		x.Due(ExpiringPuts, func(_ []byte, v Version) bool { n++; return true })
		return n
	}
	slices.Sort(deadlines)
	for i, d := range slices.Compact(slices.Clone(deadlines)) {
		for _, now := range []int64{d - 1, d} {
			if !x.Advance(ExpiringPuts, now, 1000) {
				t.Fatal("a budget of more than there are was not enough")
			}
			want, _ := slices.BinarySearch(deadlines, now+1)
			if now == math.MaxInt64 {
				want = len(deadlines)
			}
			if got := due(); got != want {
				t.Fatalf("at %d, the %dth deadline, %d are due, want %d", now, i, got, want)
			}
		}
	}
}

// TestADeadlineCostsOneRow is the budget of a key's TTL: 32 bytes.
func TestADeadlineCostsOneRow(t *testing.T) {
	held := func(deadline int64) int {
		x := New()
		for i := range 1000 {
			key := fmt.Sprint("key", i)
			x.Apply(Hash(key), key, Version{Revision: kv.Revision(i + 1), Op: kv.Put, Deadline: deadline}, 0, nil)
		}
		return x.rows.held
	}
	if bytes := (held(7) - held(0)) * rowSize; bytes != 1000*32 {
		t.Errorf("1,000 deadlines take %d bytes", bytes)
	}
}
