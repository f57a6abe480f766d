package compaction

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"kvd/segment"
)

// TestDecide is the rule about the records that may go, as a table. A key has one
// letter; a record is of the inputs and stands at its place in the list.
func TestDecide(t *testing.T) {
	type record struct {
		key   string
		op    segment.Op
		index InIndex
	}
	put := func(key string, in InIndex) record { return record{key, segment.Put, in} }
	del := func(key string, in InIndex) record { return record{key, segment.Delete, in} }
	erase := func(key string, in InIndex) record { return record{key, segment.Erase, in} }
	live, newer, older, gone := InIndex{Live: true}, InIndex{Newer: true}, InIndex{Older: true}, InIndex{}
	for _, c := range []struct {
		name       string
		lowest     bool
		inputs     []record
		below      []record
		unreadable bool
		want       []Verdict
	}{
		{
			name:   "live records stay",
			inputs: []record{put("a", live), put("a", InIndex{Live: true, Newer: true})},
			want:   []Verdict{KeepLive, KeepLive},
		},
		{
			name:   "the index shows a newer record",
			inputs: []record{put("a", newer), erase("a", newer)},
			below:  []record{put("a", gone)},
			want:   []Verdict{RemoveSuperseded, RemoveSuperseded},
		},
		{
			name:   "the last record of a key with nothing below",
			inputs: []record{del("a", gone)},
			want:   []Verdict{RemoveLast},
		},
		{
			name:   "a record below keeps the last one",
			inputs: []record{del("a", gone)},
			below:  []record{put("b", gone), put("a", gone)},
			want:   []Verdict{KeepDead},
		},
		{
			name:   "an erase below does not count",
			inputs: []record{del("a", gone)},
			below:  []record{erase("a", gone)},
			want:   []Verdict{RemoveLast},
		},
		{
			name:       "an unreadable segment below may hold any key",
			inputs:     []record{del("a", gone)},
			unreadable: true,
			want:       []Verdict{KeepDead},
		},
		{
			name:   "an older live record keeps a tombstone",
			inputs: []record{erase("a", older)},
			want:   []Verdict{KeepDead},
		},
		{
			name:   "a newer record of the inputs stands in for an older one",
			inputs: []record{put("a", gone), del("a", gone)},
			below:  []record{put("a", gone)},
			want:   []Verdict{RemoveSuperseded, KeepDead},
		},
		{
			name:   "an erase stands in for another erase alone",
			inputs: []record{put("a", gone), erase("a", gone), erase("a", gone)},
			below:  []record{put("a", gone)},
			want:   []Verdict{KeepDead, RemoveSuperseded, KeepDead},
		},
		{
			name:   "keys are apart",
			inputs: []record{put("a", gone), put("b", gone)},
			below:  []record{put("b", gone)},
			want:   []Verdict{RemoveLast, KeepDead},
		},
		{
			name:   "the lowest inputs need no look below",
			lowest: true,
			inputs: []record{put("a", gone), erase("b", older), put("c", newer), put("d", live)},
			want:   []Verdict{RemoveLast, KeepDead, RemoveSuperseded, KeepLive},
		},
	} {
		t.Run(strings.ReplaceAll(c.name, " ", "_"), func(t *testing.T) {
			d := NewDecider(c.lowest)
			entry := func(r record) *segment.Entry { return &segment.Entry{Key: []byte(r.key), Op: r.op} }
			for i, r := range c.inputs {
				d.SeeInput(entry(r), int64(i), r.index)
			}
			for _, r := range c.below {
				d.SeeBelow(entry(r))
			}
			if c.unreadable {
				d.SeeUnreadable()
			}
			var got []Verdict
			for i, r := range c.inputs {
				got = append(got, d.Decide(entry(r), int64(i), r.index))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// The number of keys that a Decider notes is bounded; records of the others stay.
func TestKeysThatAreNotNotedStay(t *testing.T) {
	d := NewDecider(false)
	entry := func(n int) *segment.Entry {
		return &segment.Entry{Key: fmt.Append(nil, n), Op: segment.Delete}
	}
	for n := range keysMax + 1 {
		d.SeeInput(entry(n), int64(n), InIndex{})
	}
	if got := d.Decide(entry(0), 0, InIndex{}); got != RemoveLast {
		t.Errorf("verdict %d about a key that was noted", got)
	}
	if got := d.Decide(entry(keysMax), keysMax, InIndex{}); got != KeepDead {
		t.Errorf("verdict %d about a key that was not noted", got)
	}
}

// What NeedsBelow spares is a look at all segments below.
func TestNeedsBelow(t *testing.T) {
	e := &segment.Entry{Key: []byte("a"), Op: segment.Put}
	for _, c := range []struct {
		lowest bool
		index  InIndex
		want   bool
	}{
		{false, InIndex{}, true},
		{false, InIndex{Older: true}, true},
		{false, InIndex{Live: true}, false},
		{false, InIndex{Newer: true}, false},
		{true, InIndex{}, false},
	} {
		d := NewDecider(c.lowest)
		d.SeeInput(e, 0, c.index)
		if got := d.NeedsBelow(); got != c.want {
			t.Errorf("lowest %t, %+v: %t", c.lowest, c.index, got)
		}
	}
}
