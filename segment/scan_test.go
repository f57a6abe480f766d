package segment

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"kvd/kv"
)

// scan reads the whole segment in scans of n records each.
func (x *fixture) scan(n int) (entries []Entry, values [][]byte, damage []*kv.CorruptError) {
	x.t.Helper()
	var c Scanner
	damaged := func(e *kv.CorruptError) { damage = append(damage, e) }
	for at := int64(0); at < x.s.Size(); {
		taken := 0
		next, err := c.Scan(x.s, at, func(offset int64, r *Record, _ int) bool {
			if taken == n {
				return false
			}
			taken++
			entry := entryOf(r, offset)
			err := c.Value(r)
			var corrupt *kv.CorruptError
			switch {
			case errors.As(err, &corrupt):
				damage = append(damage, corrupt)
			case err != nil:
				x.t.Fatal(err)
			}
			entry.Key = bytes.Clone(entry.Key)
			entries, values = append(entries, entry), append(values, bytes.Clone(r.Value))
			return true
		}, damaged)
		if err != nil || next <= at {
			x.t.Fatalf("scan from %d ended at %d: %v", at, next, err)
		}
		at = next
	}
	return entries, values, damage
}

func TestScanAgreesWithWalk(t *testing.T) {
	onBoth(t, func(t *testing.T, o Options) {
		x := sampleSegment(t, o)
		x.put("larger than the window", strings.Repeat("v", 3*scanWindow))
		x.put("behind", "w")
		want := x.entries
		for _, n := range []int{1, 2, len(want), len(want) + 1} {
			entries, values, damage := x.scan(n)
			if len(entries) != len(want) || damage != nil {
				t.Fatalf("%d at a time: %d entries of %d, damage %v", n, len(entries), len(want), damage)
			}
			for i := range want {
				if e := entries[i]; e.Offset != want[i].Offset || e.Revision != want[i].Revision || !bytes.Equal(e.Key, want[i].Key) {
					t.Errorf("%d at a time: entry %d is %+v, want %+v", n, i, e, want[i])
				}
				if value := asRead(t, x.records[want[i].Offset]).Value; !bytes.Equal(values[i], value) {
					t.Errorf("%d at a time: value %d has %d bytes, want %d", n, i, len(values[i]), len(value))
				}
			}
			if got := string(values[len(values)-2]); got != strings.Repeat("v", 3*scanWindow) {
				t.Errorf("%d at a time: the large value has %d bytes", n, len(got))
			}
		}
	})
}

func TestScanContinuesAfterDamage(t *testing.T) {
	x := sampleSegment(t, memOptions(t))
	head, value := x.entries[1], x.entries[3]
	x.write(head.Offset, []byte("damaged!"))
	x.write(value.Offset+int64(value.Size)-8, []byte("damaged!"))
	entries, _, damage := x.scan(3)
	if want := without(x.entries, &head); !reflect.DeepEqual(offsets(entries), offsets(want)) {
		t.Errorf("scanned %v, want %v", offsets(entries), offsets(want))
	}
	if len(damage) != 2 || damage[0].Offset != head.Offset || damage[1].Offset != value.Offset {
		t.Errorf("damage is %v", damage)
	}
}

func offsets(entries []Entry) (o []int64) {
	for _, e := range entries {
		o = append(o, e.Offset)
	}
	return o
}

// A record's head may begin in one window and end in the next. No part of it may be
// read from the former content of the window.
func TestHeadsAcrossTheEndOfAWindow(t *testing.T) {
	for _, window := range []int{scanWindow, windowSize} {
		for before := 8; before <= 128; before += 8 { // bytes of the second record in the first window
			x := createOf(t, memOptions(t), 4*windowSize)
			fill := window - before - RecordSize(1, 0, 0, false, false)
			x.put("a", strings.Repeat("f", fill))
			x.put("a key of some length", "value")
			x.put("behind", strings.Repeat("w", window)) // to fill the next window
			if at := x.entries[1].Offset; at != int64(HeaderSize+window-before) {
				t.Fatalf("the second record is at %d", at)
			}
			x.index()
			x.check()
			entries, values, damage := x.scan(10)
			if len(entries) != 3 || string(values[1]) != "value" || damage != nil {
				t.Errorf("window of %d, %d bytes before its end: %d records, damage %v", window, before, len(entries), damage)
			}
		}
	}
}
