package manifest

import "kvd/index"

// Rule is the rule of a [Liveness] that removes a record.
type Rule uint8

// The rules, in the order in which they are asked.
const (
	RuleNone          Rule = iota // no rule removes the record
	RuleExpired                   // ExpiredUpTo
	RuleMarkerExpired             // MarkersExpiredUpTo
	RuleForgotten                 // PurgedDeletes
	RuleCut                       // a cut
)

// String returns the name of the rule that removed a record, or "live".
func (r Rule) String() string {
	switch r {
	case RuleNone:
		return "live"
	case RuleExpired:
		return "expired"
	case RuleMarkerExpired:
		return "marker expired"
	case RuleForgotten:
		return "forgotten"
	case RuleCut:
		return "cut"
	}
	return "unknown"
}

// Judge returns for each version the rule that removes it: those with RuleNone are the versions
// that [Liveness.Filter] returns. versions are as there, and stay unchanged.
func (l *Liveness) Judge(versions []index.Version) []Rule {
	rules := make([]Rule, len(versions))
	if len(versions) == 0 {
		return rules
	}
	newest := versions[len(versions)-1]
	byTTL := Liveness{ExpiredUpTo: l.ExpiredUpTo}
	live := make([]index.Version, 0, len(versions))
	for i := range versions {
		v, isNewest := &versions[i], i == len(versions)-1
		switch {
		case byTTL.Removes(v, isNewest):
			rules[i] = RuleExpired
		case l.Removes(v, isNewest):
			rules[i] = RuleMarkerExpired
		default:
			live = append(live, *v)
		}
	}
	live = l.applyPurgeDeletes(live, newest)
	mark(rules, versions, live, RuleForgotten)
	for _, c := range l.Cuts {
		live = c.apply(live)
		mark(rules, versions, live, RuleCut)
	}
	return rules
}

// mark sets the rule of the versions that have none and are no longer in live, which is
// ascending as they are.
func mark(rules []Rule, versions, live []index.Version, rule Rule) {
	for i := range versions {
		switch {
		case len(live) > 0 && live[0].Revision == versions[i].Revision:
			live = live[1:]
		case rules[i] == RuleNone:
			rules[i] = rule
		}
	}
}
