package manifest

import (
	"flag"
	"math/rand/v2"
	"slices"
	"testing"

	"kvd/index"
	"kvd/kv"
)

var seed = flag.Uint64("kvd.seed", 1, "seed of the random rules")

// Judge and Filter are the same rules, told in two ways.
func TestJudgeKeepsWhatFilterKeeps(t *testing.T) {
	seen := map[Rule]int{}
	for n := range uint64(20_000) {
		r := rand.New(rand.NewPCG(*seed, n))
		rules, versions := randomRules(r), randomVersions(r)
		verdicts := rules.Judge(versions)
		var kept []index.Version
		for i, v := range versions {
			seen[verdicts[i]]++
			if verdicts[i] == RuleNone {
				kept = append(kept, v)
			}
		}
		if want := rules.Filter(slices.Clone(versions)); !slices.Equal(kept, want) {
			t.Fatalf("-kvd.seed=%d, history %d: %+v of %+v: Judge keeps %v, Filter %v", *seed, n, rules, versions, kept, want)
		}
	}
	for rule := RuleNone; rule <= RuleCut; rule++ {
		if seen[rule] < 100 {
			t.Errorf("%v was the verdict %d times: the histories are too much alike", rule, seen[rule])
		}
	}
}

func randomRules(r *rand.Rand) (l Liveness) {
	some := func() kv.Revision { return kv.Revision(r.IntN(2) * r.IntN(30)) }
	l.ExpiredUpTo = some()
	l.MarkersExpiredUpTo = int64(some())
	l.AddPurgeDeletes(PurgeDeletes{UpTo: some(), MarkersUpTo: some()})
	for range r.IntN(3) {
		l.AddCut(Cut{UpTo: some(), Keep: 1 + r.IntN(4)})
	}
	return l
}

func randomVersions(r *rand.Rand) (versions []index.Version) {
	revision := kv.Revision(0)
	for range r.IntN(8) {
		revision += kv.Revision(1 + r.IntN(8))
		v := index.Version{Revision: revision, Op: kv.Operation(1 + r.IntN(3))}
		if r.IntN(2) == 0 {
			v.Deadline = int64(1 + r.IntN(30))
		}
		versions = append(versions, v)
	}
	return versions
}

func TestEachRuleHasAName(t *testing.T) {
	names := map[string]bool{}
	for rule := RuleNone; rule <= RuleCut+1; rule++ {
		names[rule.String()] = true
	}
	if len(names) != int(RuleCut)+2 {
		t.Errorf("the names are %v", names)
	}
}
