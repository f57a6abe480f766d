package hole

import (
	"flag"
	"math/rand/v2"
	"testing"

	"kvd/bucket/journal"
	"kvd/kv"
	"kvd/wal"
)

var seed = flag.Uint64("kvd.seed", 1, "seed of the random histories")

// record is a record of a model's log.
type record struct {
	bucket   uint64
	revision kv.Revision
	sum      uint64
}

// frame is a frame of a model's log.
type frame struct {
	records    []record
	operations uint64
	lost       bool
}

// model is a log with holes and the tails of its buckets.
type model struct {
	frames []frame // of LSN 1, 2, …
	tails  map[uint64][]Item
}

const buckets = 3

// words returns the words of the frame with an index, which may be one behind the last.
func (m *model) words(at int) (w wal.Words) {
	for i, f := range m.frames[:at] {
		w.Records += uint64(len(f.records))
		w.Operations += f.operations
		var filter uint64
		for _, r := range f.records {
			w.Sum += r.sum
			filter |= journal.FilterBit(r.bucket)
		}
		switch {
		case i == at-1:
			w.Before = filter
		case i >= at-filterFrames:
			w.Recent |= filter
		}
	}
	return w
}

// holes returns the runs of lost frames.
func (m *model) holes() (holes []Hole) {
	for i := 0; i < len(m.frames); i++ {
		if !m.frames[i].lost {
			continue
		}
		h := Hole{First: wal.LSN(i + 1), Before: m.words(i), AfterKnown: true}
		for i < len(m.frames) && m.frames[i].lost {
			i++
		}
		h.Last, h.After = wal.LSN(i), m.words(i)
		holes = append(holes, h)
	}
	return holes
}

// bucket returns what recovery would find of a bucket.
func (m *model) bucket(id uint64, holes []Hole) Bucket {
	b := Bucket{ID: id}
	sound := map[uint64]bool{}
	for i, f := range m.frames {
		for _, r := range f.records {
			if r.bucket != id || f.lost {
				continue
			}
			sound[r.sum] = true
			b.Highest = max(b.Highest, r.revision)
			if lsn := wal.LSN(i + 1); lsn < holes[0].First {
				b.LastBefore = r.sum
			} else if lsn > holes[len(holes)-1].Last && b.FirstBehind == 0 {
				b.FirstBehind, b.BoundBehind = r.sum, r.revision-1
			}
		}
	}
	for _, item := range m.tails[id] {
		item.Sound = sound[item.Sum]
		b.Tail = append(b.Tail, item)
		b.Highest = max(b.Highest, item.Revision)
	}
	return b
}

// randomModel makes a log of random frames, of which some are lost, and tails of which
// some parts are lost.
func randomModel(r *rand.Rand, wholeTails bool) *model {
	m := &model{tails: map[uint64][]Item{}}
	next := [buckets + 1]kv.Revision{}
	for range 3 + r.IntN(100) {
		f := frame{}
		for range r.IntN(4) {
			id := 1 + r.Uint64N(buckets)
			next[id]++
			f.records = append(f.records, record{id, next[id], r.Uint64()})
		}
		m.frames = append(m.frames, f)
	}
	for range 1 + r.IntN(2) {
		at := r.IntN(len(m.frames))
		for i := at; i < min(at+1+r.IntN(80), len(m.frames)); i++ {
			m.frames[i].lost = true
		}
	}
	for _, f := range m.frames {
		for _, rec := range f.records {
			m.tails[rec.bucket] = append(m.tails[rec.bucket], Item{Sum: rec.sum, Revision: rec.revision})
		}
	}
	for id := uint64(1); id <= buckets && !wholeTails; id++ {
		if r.IntN(3) == 0 {
			continue
		}
		tail := m.tails[id]
		if len(tail) > 0 && r.IntN(2) == 0 { // the end is missing
			tail = tail[:r.IntN(len(tail))]
		}
		if len(tail) > 1 && r.IntN(2) == 0 { // something in it
			from := r.IntN(len(tail) - 1)
			to := from + 1 + r.IntN(min(5, len(tail)-from-1))
			tail = append(append([]Item(nil), tail[:from]...), tail[to:]...)
			tail[from].Break = true
		}
		m.tails[id] = tail
	}
	return m
}

// TestNoVerdictIsWrong compares verdicts with what is really missing, in random logs.
func TestNoVerdictIsWrong(t *testing.T) {
	var whole, doubt int
	for n := range uint64(20_000) {
		r := rand.New(rand.NewPCG(*seed, n))
		m := randomModel(r, n%4 == 0)
		holes := m.holes()
		if len(holes) == 0 {
			continue
		}
		var list []Bucket
		for id := uint64(1); id <= buckets; id++ {
			list = append(list, m.bucket(id, holes))
		}
		verdicts, _ := Decide(holes, list)
		for i, v := range verdicts {
			missing := m.missing(&list[i])
			if v.Whole {
				whole++
				if len(missing) > 0 {
					t.Fatalf("-kvd.seed=%d, log %d: bucket %d counts as whole and lacks %v", *seed, n, list[i].ID, missing)
				}
				continue
			}
			doubt++
			if n%4 == 0 {
				t.Fatalf("-kvd.seed=%d, log %d: bucket %d is in doubt although the tails have everything", *seed, n, list[i].ID)
			}
			for _, rev := range missing {
				if rev > v.Bound {
					t.Fatalf("-kvd.seed=%d, log %d: bucket %d lacks revision %d, and its bound is %d", *seed, n, list[i].ID, rev, v.Bound)
				}
			}
			if b := &list[i]; b.FirstBehind != 0 && v.Bound > b.BoundBehind && v.Bound != 1 {
				t.Fatalf("-kvd.seed=%d, log %d: bucket %d has the bound %d, and a sound frame has what follows %d", *seed, n, b.ID, v.Bound, b.BoundBehind)
			}
		}
	}
	if whole < 1000 || doubt < 1000 {
		t.Errorf("%d buckets were whole and %d in doubt: the logs are too much alike", whole, doubt)
	}
}

// missing returns the revisions that neither a sound frame nor the tail has.
func (m *model) missing(b *Bucket) (revisions []kv.Revision) {
	have := map[uint64]bool{}
	for _, item := range b.Tail {
		have[item.Sum] = true
	}
	for _, f := range m.frames {
		for _, r := range f.records {
			if r.bucket == b.ID && f.lost && !have[r.sum] {
				revisions = append(revisions, r.revision)
			}
		}
	}
	return revisions
}

// aHole is a hole of two frames with two records of bucket 1.
func aHole() Hole {
	return Hole{
		First: 5, Last: 6, AfterKnown: true,
		Before: wal.Words{Records: 10, Sum: 100, Operations: 4},
		After:  wal.Words{Records: 12, Sum: 107, Operations: 4, Before: journal.FilterBit(1), Recent: journal.FilterBit(1)},
	}
}

func TestWhatMakesABucketWhole(t *testing.T) {
	has := []Item{{Sum: 3, Revision: 8}, {Sum: 4, Revision: 9}}
	for _, c := range []struct {
		name   string
		hole   func(*Hole)
		bucket Bucket
		want   Verdict
	}{
		{"its position", nil, Bucket{ID: 1, Position: 6}, Verdict{Whole: true}},
		{"a position inside", nil, Bucket{ID: 1, Position: 5, Highest: 7}, Verdict{Bound: 9, Records: 2}},
		{"the filter", nil, Bucket{ID: 2}, Verdict{Whole: true}},
		{"no filter of a long hole", func(h *Hole) { h.Last = h.First + filterFrames }, Bucket{ID: 2, Highest: 7}, Verdict{Bound: 9, Records: 2}},
		{"the filter of a hole of 64 frames", func(h *Hole) { h.Last = h.First + filterFrames - 1 }, Bucket{ID: 2, Highest: 7}, Verdict{Whole: true}},
		{"no filter where nothing is known", func(h *Hole) { h.AfterKnown = false }, Bucket{ID: 2, Highest: 7}, Verdict{Bound: 7 + 2*recordsMax, Unknown: true}},
		{"the totals", nil, Bucket{ID: 1, Highest: 9, Tail: has}, Verdict{Whole: true}},
		{"the number without the sum", nil, Bucket{ID: 1, Highest: 9, Tail: []Item{{Sum: 3, Revision: 8}, {Sum: 5, Revision: 9}}}, Verdict{Bound: 11}},
		{"one of two", nil, Bucket{ID: 1, Highest: 8, Tail: has[:1]}, Verdict{Bound: 10, Records: 1}},
		{"one too many", nil, Bucket{ID: 1, Highest: 10, Tail: append(has[:2:2], Item{Sum: 6, Revision: 10})}, Verdict{Bound: 12}},
		{"a run", nil, Bucket{ID: 1, LastBefore: 1, FirstBehind: 9, BoundBehind: 9, Tail: []Item{{Sum: 1, Sound: true}, {Sum: 3}, {Sum: 9, Sound: true}}}, Verdict{Whole: true}},
		{"a run from the beginning", nil, Bucket{ID: 1, FirstBehind: 9, BoundBehind: 9, Tail: []Item{{Sum: 3}, {Sum: 9, Sound: true}}}, Verdict{Whole: true}},
		{"no run with a break", nil, Bucket{ID: 1, LastBefore: 1, FirstBehind: 9, BoundBehind: 9, Tail: []Item{{Sum: 1, Sound: true}, {Sum: 3}, {Sum: 9, Sound: true, Break: true}}}, Verdict{Bound: 9, Records: 1}},
		{"a run behind a break", nil, Bucket{ID: 1, LastBefore: 1, FirstBehind: 9, BoundBehind: 9, Tail: []Item{{Sum: 1, Sound: true, Break: true}, {Sum: 3}, {Sum: 9, Sound: true}}}, Verdict{Whole: true}},
		{"no run that does not begin", nil, Bucket{ID: 1, LastBefore: 2, FirstBehind: 9, BoundBehind: 9, Tail: []Item{{Sum: 3}, {Sum: 9, Sound: true}}}, Verdict{Bound: 9, Records: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := aHole()
			if c.hole != nil {
				c.hole(&h)
			}
			verdicts, _ := Decide([]Hole{h}, []Bucket{c.bucket})
			c.want.Unknown = c.want.Unknown && !c.want.Whole
			if verdicts[0] != c.want {
				t.Errorf("verdict %+v, want %+v", verdicts[0], c.want)
			}
		})
	}
}

func TestOperationsInAHole(t *testing.T) {
	for _, c := range []struct {
		name          string
		frames, twins uint64
		missing       uint64
	}{
		{"none", 0, 0, 0},
		{"both copies", 2, 0, 1},
		{"one copy, the other before or behind", 1, 1, 0},
		{"the second of one and the first of another", 2, 2, 0},
		{"the second of one, and another", 3, 1, 1},
		{"both of two", 4, 0, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := aHole()
			h.After.Operations += c.frames
			h.Twins = c.twins
			verdicts, missing := Decide([]Hole{h}, []Bucket{{ID: 1}, {ID: 2}})
			if missing != c.missing {
				t.Errorf("%d are missing, want %d", missing, c.missing)
			}
			if verdicts[0].Unknown != (c.missing > 0) || verdicts[1].Unknown {
				t.Errorf("verdicts %+v", verdicts)
			}
		})
	}
}
