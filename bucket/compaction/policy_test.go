package compaction

import (
	"slices"
	"strings"
	"testing"
)

func TestAPolicyChoosesOneRun(t *testing.T) {
	seg := func(size, garbage int64) Candidate {
		return Candidate{Size: size << 10, Need: (size - garbage) << 10, Garbage: garbage << 10, Fits: true}
	}
	unfit := seg(1000, 900)
	unfit.Fits = false
	p := Policy{minFraction: 0.5, minGarbage: 100 << 10, mergeFrom: 3}
	for _, c := range []struct {
		name     string
		list     []Candidate
		from, to int
		none     bool
	}{
		{name: "no segments", none: true},
		{name: "mostly live segments are left alone", list: []Candidate{seg(1000, 400), seg(1000, 100)}, none: true},
		{name: "garbage of little size is left alone", list: []Candidate{seg(50, 49)}, none: true},
		{name: "a segment that does not fit is left alone", list: []Candidate{unfit}, none: true},
		{name: "the largest fraction of garbage", list: []Candidate{seg(1000, 600), seg(1000, 100), seg(1000, 900)}, from: 2, to: 3},
		{name: "the oldest of equals", list: []Candidate{seg(1000, 600), seg(1000, 100), seg(1000, 600)}, from: 0, to: 1},
		{name: "neighbours as far as they fit one", list: []Candidate{seg(1000, 700), seg(1000, 700), seg(1000, 700), seg(1000, 700)}, from: 0, to: 3},
		{name: "nothing but garbage, however much", list: []Candidate{seg(1000, 1000), seg(1000, 1000), seg(1000, 1000)}, from: 0, to: 3},
		{name: "many small neighbours", list: []Candidate{seg(900, 0), seg(10, 0), seg(10, 0), seg(10, 0)}, from: 1, to: 4},
		{name: "a few small neighbours are left alone", list: []Candidate{seg(900, 0), seg(10, 0), seg(10, 0)}, none: true},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			r, ok := p.choose(c.list, 1000<<10)
			if ok == c.none || r.From != c.from || r.To != c.to {
				t.Errorf("%+v, %t", r, ok)
			}
		})
	}
}

func TestChooseAll(t *testing.T) {
	seg := func(size, garbage int64) Candidate {
		return Candidate{Size: size << 10, Need: (size - garbage) << 10, Garbage: garbage << 10, Fits: true}
	}
	p := Policy{minFraction: 0.2, minGarbage: 100 << 10}
	many := make([]Candidate, 3*batchRuns)
	for i := range many {
		if i%2 == 0 {
			many[i] = seg(1000, 900)
		} else {
			many[i] = seg(1000, 0)
		}
	}
	large := []Candidate{seg(60<<10, 40<<10), seg(10, 0), seg(60<<10, 40<<10), seg(10, 0), seg(60<<10, 40<<10), seg(10, 0), seg(60<<10, 40<<10)}
	for _, c := range []struct {
		name string
		list []Candidate
		want [][2]int // from, to
	}{
		{"the most rewarding first", []Candidate{seg(1000, 600), seg(1000, 0), seg(1000, 900)}, [][2]int{{2, 3}, {0, 1}}},
		{"a first run may copy more than it gives back", []Candidate{seg(1000, 300)}, [][2]int{{0, 1}}},
		{"a later one may not", []Candidate{seg(1000, 300), seg(1000, 0), seg(1000, 900)}, [][2]int{{2, 3}}},
		{"a round copies a bounded number of bytes", large, [][2]int{{0, 1}, {2, 3}, {4, 5}}},
		{"nothing", nil, nil},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			var got [][2]int
			for _, r := range p.ChooseAll(c.list, 1000<<10) {
				got = append(got, [2]int{r.From, r.To})
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
	if got := p.ChooseAll(many, 1000<<10); len(got) != batchRuns {
		t.Errorf("%d runs in one round, want %d", len(got), batchRuns)
	}
}

func TestThePolicyOfAUsage(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		usage      Usage
		idle, full bool
		want       Policy
	}{
		{usage: Usage{Disk: 10 * mib, Need: 10 * mib}, want: None},
		{usage: Usage{Disk: 2 * mib, Need: 0}, want: Busy},
		{usage: Usage{Disk: mib, Need: 0}, want: None}, // a mebibyte is nobody's concern
		{usage: Usage{Disk: 20 * mib, Need: 10 * mib}, want: Busy},
		{usage: Usage{Disk: 30 * mib, Need: 10 * mib}, want: Bloated},
		{usage: Usage{Disk: 30 * mib, Need: 10 * mib}, idle: true, want: Idle},
		{usage: Usage{Disk: 10 * mib, Need: 10 * mib}, idle: true, want: Idle},
		{usage: Usage{Disk: 30 * mib, Need: 10 * mib, Sweeping: true}, idle: true, want: None},
		{usage: Usage{Disk: 10 * mib, Need: 10 * mib, Sweeping: true}, full: true, want: Full},
	} {
		if got := c.usage.Policy(c.idle, c.full); got != c.want {
			t.Errorf("%+v, idle %t, full %t: %+v, want %+v", c.usage, c.idle, c.full, got, c.want)
		}
	}
}

func TestUnfitGarbageMayPay(t *testing.T) {
	list := []Candidate{{Garbage: 60}, {Garbage: 50}, {Garbage: 1000, Fits: true}}
	for least, want := range map[int64]bool{110: true, 111: false} {
		if got := (Policy{minGarbage: least}).UnfitMayPay(list); got != want {
			t.Errorf("from %d bytes on: %t", least, got)
		}
	}
}
