package bucket

import (
	"fmt"
	"runtime"
	"testing"

	"kvd/bucket/compaction"
)

// Searching for the records that an operation makes dead delays every writer. So it must
// not copy the keys without such records.
func TestLookingForTheDeadCopiesNoKey(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	for i := range 500 {
		mustPut(t, b, fmt.Sprint("a-key-of-more-bytes-than-one-word-has-", i), "v")
	}
	if n := testing.AllocsPerRun(10, func() {
		if keys, _ := b.affected(0); len(keys) > 0 {
			t.Errorf("%d keys have dead records", len(keys))
		}
	}); n > 50 {
		t.Errorf("%v allocations for 500 keys of which none is affected", n)
	}
}

// The compactor checks ten thousand buckets without garbage a few times a second while
// there are writers. None of these checks may wait for the path.
func TestABucketWithoutGarbageDoesNotTakeThePath(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b")
	for i := range 10 {
		mustPut(t, b, fmt.Sprint(i), "v")
	}
	if !h.s.path.TryLock() {
		t.Fatal("the path is taken")
	}
	done := make(chan bool)
	go func() {
		_, ok := b.victim(func(*compaction.Usage) compaction.Policy { return compaction.Reclaim }, nil)
		done <- ok
	}()
	for waited := 0; ; waited++ {
		select {
		case ok := <-done:
			h.s.path.Unlock()
			if ok {
				t.Error("there is something to compact")
			}
			return
		default:
		}
		if waited == 1_000_000 {
			h.s.path.Unlock()
			<-done
			t.Fatal("looking for garbage waits for the path")
		}
		runtime.Gosched()
	}
}
