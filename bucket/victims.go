package bucket

// candidate is a segment as the choice of what to compact sees it.
type candidate struct {
	size    int64 // of the file, bytes
	need    int64 // about the size of a file of what is live in it
	garbage int64 // bytes that a rewrite would give back
	fits    bool  // it is sealed, sound, and known to the manifest
}

// policy says from when on a compaction is worth its work.
type policy struct {
	share float64 // least part of a segment that is garbage
	least int64   // least garbage of a run, bytes
	merge int     // so many small neighbours are merged for their own sake; 0: none
	seal  float64 // the active segment is sealed first if such a part of it is garbage
}

// The policies. While writers are busy, what is half dead is rewritten, so that
// each byte written costs at most one more; where a bucket has grown to several
// times its live bytes, and on a full disk, less is enough. At rest, all that
// keeps the files above 1.3 times the live bytes goes.
var (
	policyNone    = policy{share: 2, least: 1 << 62, seal: 2} // than which nothing is worse
	policyBusy    = policy{share: 0.5, least: 256 << 10, merge: 8, seal: 0.8}
	policyBloated = policy{share: 0.3, least: 256 << 10, merge: 8, seal: 0.5}
	policyIdle    = policy{share: 0.2, least: 128 << 10, merge: 4, seal: 0.5}
	policyFull    = policy{share: 0.05, least: 4 << 10, seal: 0.05}
	policyReclaim = policy{share: 0.01, least: 1, merge: 2, seal: 0.01}
)

// copyLeast is what a compaction costs at least, counted as bytes to be copied.
const copyLeast = 64 << 10

// runMax bounds the inputs of one compaction.
const runMax = 64

// candidatesLocked returns the bucket's segments in ascending order of revisions.
// The caller holds mu.
func (b *Bucket) candidatesLocked() []candidate {
	list := make([]candidate, len(b.mu.order))
	for i, sl := range b.mu.order {
		if sl.lost == nil {
			list[i] = b.candidateLocked(sl)
		}
	}
	return list
}

// candidateLocked rates a segment. What its index blocks take belongs to its
// records in proportion.
func (b *Bucket) candidateLocked(sl *slot) candidate {
	c := candidate{size: sl.Size(), fits: sl.Desc().Sealed && !sl.damaged.Load()}
	if dead := sl.records - b.mu.index.Use(sl.number).Bytes - sl.held; dead > 0 {
		c.garbage = int64(float64(c.size) * float64(dead) / float64(sl.records))
	}
	c.need = c.size - c.garbage
	return c
}

// run is neighbours [from, to) that are to be compacted.
type run struct {
	from, to int
	need     int64
	garbage  int64
}

// batchMax bounds the bytes that one round of compactions copies, and batchRuns
// the runs of it.
const (
	batchMax  = 64 << 20
	batchRuns = 16
)

// chooseAll returns the runs that are to be compacted in one round, none of them
// next to each other in vain; together they copy no more than they give back, or
// there is but one.
func (p policy) chooseAll(list []candidate, target int64) (runs []run) {
	var need int64
	for len(runs) < batchRuns {
		r, ok := p.choose(list, target)
		if !ok || len(runs) > 0 && (r.garbage < r.need || need+r.need > batchMax) {
			return runs
		}
		runs = append(runs, r)
		need += r.need
		for i := r.from; i < r.to; i++ {
			list[i].fits = false
		}
	}
	return runs
}

// choose returns the neighbours that are to be compacted next, to be replaced by
// one segment of about target bytes at most; ok is false if nothing is worth it. Of
// several runs it takes the one that gives back the most for what has to be
// copied, and of equal ones the oldest.
func (p policy) choose(list []candidate, target int64) (best run, ok bool) {
	score := -1.0
	for i := range list {
		if !p.rotten(&list[i]) {
			continue
		}
		r := p.extend(list, i, target)
		if s := float64(r.garbage) / float64(r.need+copyLeast); r.garbage >= p.least && s > score {
			score, best, ok = s, r, true
		}
	}
	if ok {
		return best, true
	}
	return p.chooseSmall(list, target)
}

func (p policy) rotten(c *candidate) bool {
	return c.fits && c.garbage > 0 && float64(c.garbage) >= p.share*float64(c.size)
}

// mostlyDead reports whether the active segment should end for its garbage.
func (p policy) mostlyDead(c *candidate) bool {
	return c.garbage >= p.least && float64(c.garbage) >= p.seal*float64(c.size)
}

// extend returns the run from i on.
func (p policy) extend(list []candidate, i int, target int64) run {
	r := run{from: i, to: i}
	for r.to < len(list) && r.to-i < runMax && p.rotten(&list[r.to]) && (r.to == i || r.need+list[r.to].need <= target) {
		r.add(&list[r.to])
	}
	return r
}

func (r *run) add(c *candidate) {
	r.need += c.need
	r.garbage += c.garbage
	r.to++
}

// chooseSmall returns neighbours that are to become one because they are small:
// files have a price of their own.
func (p policy) chooseSmall(list []candidate, target int64) (run, bool) {
	for i := range list {
		r := run{from: i, to: i}
		for r.to < len(list) && r.to-i < runMax && list[r.to].fits && list[r.to].size <= target/4 && r.need+list[r.to].need <= target {
			r.add(&list[r.to])
		}
		if p.merge > 0 && r.to-i >= p.merge {
			return r, true
		}
	}
	return run{}, false
}
