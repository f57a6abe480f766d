package manifest

import (
	"slices"
	"testing"
)

func TestAddCutSwallowsThoseThatKeepNoFewer(t *testing.T) {
	for _, c := range []struct{ cuts, want []Cut }{
		{[]Cut{{5, 3}}, []Cut{{5, 3}}},
		{[]Cut{{5, 3}, {8, 2}}, []Cut{{8, 2}}},
		{[]Cut{{5, 2}, {8, 2}}, []Cut{{8, 2}}},
		{[]Cut{{5, 2}, {8, 3}}, []Cut{{5, 2}, {8, 3}}},
		{[]Cut{{1, 1}, {2, 3}, {3, 5}, {4, 2}}, []Cut{{1, 1}, {4, 2}}},
		{[]Cut{{1, 5}, {2, 3}, {3, 2}, {4, 1}}, []Cut{{4, 1}}},
	} {
		var l Liveness
		for _, cut := range c.cuts {
			before := slices.Clone(l.Cuts)
			shared := l.Cuts
			l.AddCut(cut)
			if !slices.Equal(shared, before) {
				t.Errorf("%v: a captured list of cuts was changed from %v to %v", c.cuts, before, shared)
			}
		}
		if !slices.Equal(l.Cuts, c.want) {
			t.Errorf("%v come to %v, want %v", c.cuts, l.Cuts, c.want)
		}
	}
}

func TestLivenessIsTrivialOnlyWithoutAnyRule(t *testing.T) {
	for _, c := range []struct {
		l    Liveness
		want bool
	}{
		{Liveness{}, true},
		{Liveness{ExpiredUpTo: 1}, false},
		{Liveness{Cuts: []Cut{{1, 1}}}, false},
		{Liveness{PurgedDeletes: PurgeDeletes{UpTo: 1}}, false},
		{Liveness{PurgedDeletes: PurgeDeletes{MarkersUpTo: 1}}, false},
		{Liveness{MarkersExpiredUpTo: 1}, false},
	} {
		if got := c.l.Empty(); got != c.want {
			t.Errorf("%+v: trivial is %v", c.l, got)
		}
	}
}
