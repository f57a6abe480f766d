// Package prefetch asks the processor to bring memory into its cache while the caller does
// something else. A prefetch never waits and never faults: an address that is not mapped, or whose
// page is not in memory, is ignored. So it may name bytes of a mapped file under a lock, and bytes
// that are unmapped meanwhile.
//
// It is one instruction on amd64 and arm64, which the compiler offers to the runtime alone, and does
// nothing elsewhere.
package prefetch

import "unsafe"

// LineSize is the size of a cache line, in bytes.
const LineSize = 64

// Lines prefetches the lines from the one that p points into, n of them. p need not point to
// anything.
func Lines(p unsafe.Pointer, n int) { lines(p, n) }
