package fuzz

import (
	"slices"
	"testing"
	"time"
)

// trySeeds runs a check on the workloads of n seeds, or only on that of -kvd.seed. For the
// first workload that fails, it reports the shortest list of steps found that also fails.
func trySeeds(t *testing.T, first uint64, n, steps int, check func(*workload) error) {
	t.Helper()
	tryLoads(t, first, n, func(seed uint64) *workload { return generate(seed, steps) }, check)
}

// tryLoads is trySeeds with workloads of another kind.
func tryLoads(t *testing.T, first uint64, n int, generate func(seed uint64) *workload, check func(*workload) error) {
	t.Helper()
	last := first + uint64(n)
	if *seedFlag != 0 {
		first, last = *seedFlag, *seedFlag+1
	}
	for seed := first; seed < last; seed++ {
		load := generate(seed)
		if err := check(load); err != nil {
			small, smallErr := shrink(load, err, check)
			t.Fatalf("%v\n%v\nfrom %d steps: %v", smallErr, small, len(load.ops), err)
		}
	}
}

// shrink removes steps as long as the check still fails. It returns the remaining workload
// and its error.
func shrink(load *workload, err error, check func(*workload) error) (*workload, error) {
	end := time.Now().Add(*shrinkFlag)
	small := *load
	for chunk := max(1, len(small.ops)/2); ; chunk = (chunk + 1) / 2 {
		removed := false
		for at := 0; at < len(small.ops) && time.Now().Before(end); {
			try := small
			try.ops = slices.Delete(slices.Clone(small.ops), at, min(at+chunk, len(small.ops)))
			if tryErr := check(&try); tryErr != nil {
				small, err, removed = try, tryErr, true
			} else {
				at += chunk
			}
		}
		if chunk == 1 && !removed || time.Now().After(end) {
			return &small, err
		}
	}
}

// TestShrink shrinks a workload that fails because of two of its steps.
func TestShrink(t *testing.T) {
	load := generate(1, 60)
	load.ops[11], load.ops[47] = op{kind: opReopen, cut: 1}, op{kind: opReopen, cut: 2}
	both := func(l *workload) error {
		has := func(cut uint64) bool {
			return slices.ContainsFunc(l.ops, func(o op) bool { return o.kind == opReopen && o.cut == cut })
		}
		if has(1) && has(2) {
			return &unexpectedError{}
		}
		return nil
	}
	small, err := shrink(load, both(load), both)
	if err == nil || len(small.ops) != 2 {
		t.Errorf("%d steps remain, want 2: %v", len(small.ops), small)
	}
}
