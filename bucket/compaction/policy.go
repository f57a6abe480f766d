package compaction

// Candidate is a segment as a policy sees it.
type Candidate struct {
	Size    int64 // of the file, bytes
	Need    int64 // bytes of a file with only its live records, about
	Garbage int64 // bytes that a rewrite would give back, those of value files included
	Values  int64 // bytes of value files that stay: a rewrite does not copy them
	Fits    bool  // it is sealed, sound, and known to the manifest
}

// Policy has the thresholds from which a compaction is worth its work.
type Policy struct {
	minFraction  float64 // least fraction of a segment that is garbage
	minGarbage   int64   // least garbage of a run, bytes
	mergeFrom    int     // this many small neighbours are merged even without garbage; 0: never
	sealFraction float64 // the active segment is sealed first if this fraction of it is garbage
}

// The policies. While writers are busy, a segment is rewritten once half of it is
// garbage, so that each byte written costs at most one more byte. Less garbage is
// enough if a bucket has grown to several times its live bytes, and on a full disk.
// Without writers, segments are rewritten until the files have 1.3 times the live bytes.
var (
	None    = Policy{minFraction: 2, minGarbage: 1 << 62, sealFraction: 2} // chooses nothing
	Busy    = Policy{minFraction: 0.5, minGarbage: 256 << 10, mergeFrom: 8, sealFraction: 0.8}
	Bloated = Policy{minFraction: 0.3, minGarbage: 256 << 10, mergeFrom: 8, sealFraction: 0.5}
	Idle    = Policy{minFraction: 0.2, minGarbage: 128 << 10, mergeFrom: 4, sealFraction: 0.5}
	Full    = Policy{minFraction: 0.05, minGarbage: 4 << 10, sealFraction: 0.05}
	Reclaim = Policy{minFraction: 0.01, minGarbage: 1, mergeFrom: 2, sealFraction: 0.01}
)

// copyLeast is the fixed cost of a compaction, expressed as bytes to be copied.
const copyLeast = 64 << 10

// runMax bounds the inputs of one compaction.
const runMax = 64

// Run is neighbouring segments [From, To) that are to be compacted.
type Run struct {
	From, To int
	Need     int64 // bytes to be copied
	Garbage  int64 // bytes given back
}

// batchMax bounds the bytes that one round of compactions copies; batchRuns bounds the
// runs of a round.
const (
	batchMax  = 64 << 20
	batchRuns = 16
)

// ChooseAll returns the runs that are to be compacted in one round, the most
// rewarding first. They do not overlap, and each but the first gives back at least the
// bytes that it copies. list is in ascending order of revisions; ChooseAll clears Fits
// of the segments that it chooses. The output of a run has about target bytes at most.
func (p Policy) ChooseAll(list []Candidate, target int64) (runs []Run) {
	var need int64
	for len(runs) < batchRuns {
		r, ok := p.choose(list, target)
		if !ok || len(runs) > 0 && (r.Garbage < r.Need || need+r.Need > batchMax) {
			return runs
		}
		runs = append(runs, r)
		need += r.Need
		for i := r.From; i < r.To; i++ {
			list[i].Fits = false
		}
	}
	return runs
}

// choose returns the run that is to be compacted next; ok is false if none is worth it.
// It takes the run that gives back the most bytes for the bytes that have to be copied,
// and the oldest of equal ones. The output of the run has about target bytes at most.
func (p Policy) choose(list []Candidate, target int64) (best Run, ok bool) {
	score := -1.0
	for i := range list {
		if !p.Pays(&list[i]) {
			continue
		}
		r := p.extend(list, i, target)
		if s := float64(r.Garbage) / float64(r.Need+copyLeast); r.Garbage >= p.minGarbage && s > score {
			score, best, ok = s, r, true
		}
	}
	if ok {
		return best, true
	}
	return p.chooseSmall(list, target)
}

// Pays reports whether a segment has enough garbage to be rewritten.
func (p Policy) Pays(c *Candidate) bool {
	return c.Fits && c.Garbage > 0 && float64(c.Garbage) >= p.minFraction*float64(c.Size)
}

// Enough reports whether a compaction that gives back garbage bytes is worth its work.
func (p Policy) Enough(garbage int64) bool { return garbage >= p.minGarbage }

// PaysToSeal reports whether the active segment has enough garbage to be sealed, so that
// it can be compacted.
func (p Policy) PaysToSeal(c *Candidate) bool {
	return c.Garbage >= p.minGarbage && float64(c.Garbage) >= p.sealFraction*float64(c.Size)
}

// extend returns the longest run from i on whose segments all pay, within runMax and
// target.
func (p Policy) extend(list []Candidate, i int, target int64) Run {
	r := Run{From: i, To: i}
	for r.To < len(list) && r.To-i < runMax && p.Pays(&list[r.To]) && (r.To == i || r.Need+list[r.To].Need <= target) {
		r.add(&list[r.To])
	}
	return r
}

func (r *Run) add(c *Candidate) {
	r.Need += c.Need
	r.Garbage += c.Garbage
	r.To++
}

// chooseSmall returns small neighbours that are to be merged into one segment, because
// each file has a fixed cost.
func (p Policy) chooseSmall(list []Candidate, target int64) (Run, bool) {
	for i := range list {
		r := Run{From: i, To: i}
		for r.To < len(list) && r.To-i < runMax && list[r.To].Fits && list[r.To].Size <= target/4 && r.Need+list[r.To].Need <= target {
			r.add(&list[r.To])
		}
		if p.mergeFrom > 0 && r.To-i >= p.mergeFrom {
			return r, true
		}
	}
	return Run{}, false
}

// UnfitMayPay reports whether the segments that do not fit have so much garbage that it
// may pay to seal them first.
func (p Policy) UnfitMayPay(list []Candidate) bool {
	garbage := int64(0)
	for i := range list {
		if !list[i].Fits {
			garbage += list[i].Garbage
		}
	}
	return p.Enough(garbage)
}
