package segment

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"kvd/kv"
)

// checkParts checks a segment in parts of about most bytes.
func checkParts(x *fixture, most int64) (count Count, damage []*kv.CorruptError, parts int) {
	x.t.Helper()
	x.s.Pin()
	defer x.s.Unpin()
	for at := int64(0); at < x.s.Size(); parts++ {
		next, _, err := x.s.Check(at, x.s.Size(), most, WithValueFiles, &count, func(d *kv.CorruptError) { damage = append(damage, d) })
		if err != nil || next <= at {
			x.t.Fatalf("Check from %d goes on at %d, %v", at, next, err)
		}
		at = next
	}
	return count, damage, parts
}

// Parts of any size find what one walk over the whole segment finds, each damage once.
func TestCheckInPartsFindsWhatAWalkFinds(t *testing.T) {
	x := create(t, memOptions(t))
	for i := range 40 {
		x.put(fmt.Sprint("key", i%7), strings.Repeat("v", i*11))
		if i%13 == 12 {
			x.index()
		}
	}
	x.index()
	x.seal()
	for _, most := range []int64{1, 700, 5000, 1 << 20} {
		count, damage, parts := checkParts(x, most)
		if want := x.s.Desc(); count != want.Count() || len(damage) > 0 {
			t.Errorf("parts of %d: %+v, want %+v; damage %v", most, count, want.Count(), damage)
		}
		if few := most == 1<<20; few != (parts == 1) {
			t.Errorf("%d parts of %d bytes", parts, most)
		}
	}
	sound := x.bytes()
	for at := int64(0); at < int64(len(sound)); at += 11 {
		x.write(at, []byte{^sound[at]})
		var want []*kv.CorruptError
		err := x.s.Walk(0, x.s.Size(), func(int64, *Record, int, bool) error { return nil }, func(d *kv.CorruptError) { want = append(want, d) })
		if err != nil || len(want) == 0 {
			t.Fatalf("a walk over byte %d finds %v, %v", at, want, err)
		}
		for _, most := range []int64{1, 700, 1 << 20} {
			if _, damage, _ := checkParts(x, most); !reflect.DeepEqual(damage, want) {
				t.Fatalf("byte %d, parts of %d: damage is %v, want %v", at, most, damage, want)
			}
		}
		x.write(at, sound[at:at+1])
	}
}
