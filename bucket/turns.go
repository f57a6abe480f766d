package bucket

import "runtime"

// turns lets other goroutines run now and then while background work goes through many records.
//
// The reason is the Go scheduler. A goroutine that computes keeps its processor for 10 ms, and
// with it the goroutines in that processor's queue. These may be all the writers that a leader has
// just woken, and other processors take them over only when they have nothing else to do.
type turns struct {
	records int // since the last turn of others
}

// turnRecords is the number of records after which others have a turn: some 50 µs of work.
const turnRecords = 128

// count counts a record. The caller holds no lock that writers need.
func (t *turns) count() {
	if t.records++; t.records == turnRecords {
		t.records = 0
		runtime.Gosched()
	}
}
