//go:build !race

package index

import (
	"fmt"
	"runtime"
	"testing"

	"kvd/internal/hugemem"
	"kvd/kv"
)

// A large index has its pages outside Go's heap, keeps them while it is in use, and gives them back
// once it is not reachable.
func TestALargeIndexGivesItsMemoryBack(t *testing.T) {
	const keys, collections = 1000, 1000
	x := New()
	x.Grow(200_000)
	for i := range keys {
		key := fmt.Sprint(i)
		x.Apply(Hash(key), key, Version{Revision: kv.Revision(i + 1), Op: kv.Put}, 0, nil)
	}
	for range 3 {
		runtime.GC()
	}
	if got := hugemem.InUse(); got < int64(x.table.slots*slotSize) {
		t.Errorf("%d bytes are outside the heap, the slots alone take %d", got, x.table.slots*slotSize)
	}
	for i := range keys {
		key := fmt.Sprint(i)
		if v, ok := x.Newest(Hash(key), key); !ok || v.Revision != kv.Revision(i+1) {
			t.Fatalf("%q is %+v, %v", key, v, ok)
		}
	}
	x = nil
	for n := 0; hugemem.InUse() > 0; n++ {
		if n == collections {
			t.Fatalf("%d bytes are in use after %d collections", hugemem.InUse(), n)
		}
		runtime.GC() // cleanups run after it, in a goroutine
	}
}
