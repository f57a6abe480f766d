package main

import (
	"math/bits"
	"time"
)

// latencies is a histogram of durations from a microsecond to hours, exact to
// one part in 32, in constant memory. The zero value is empty.
type latencies struct {
	counts [latencyBuckets]uint64
	count  uint64
	max    time.Duration
}

const (
	latencyBits    = 5 // of a duration's leading bits that a bucket keeps
	latencyBuckets = (64 - latencyBits) << latencyBits
)

// add counts one duration.
func (l *latencies) add(d time.Duration) {
	l.counts[latencyBucket(d)]++
	l.count++
	l.max = max(l.max, d)
}

// merge adds all of another.
func (l *latencies) merge(o *latencies) {
	for i, n := range o.counts {
		l.counts[i] += n
	}
	l.count += o.count
	l.max = max(l.max, o.max)
}

// at returns the quantile q, 0 to 1: the duration that this part of all did not
// exceed. It is 0 where there are none.
func (l *latencies) at(q float64) time.Duration {
	rank, seen := uint64(q*float64(l.count)), uint64(0)
	for i, n := range l.counts {
		if seen += n; seen > rank {
			return min(latencyEnd(i), l.max)
		}
	}
	return l.max
}

// latencyBucket numbers durations in ascending order: the position of the highest
// bit, and the bits behind it.
func latencyBucket(d time.Duration) int {
	n := uint64(max(0, d))
	shift := max(0, bits.Len64(n)-latencyBits-1)
	return shift<<latencyBits + int(n>>shift)
}

// latencyEnd returns the longest duration of a bucket.
func latencyEnd(bucket int) time.Duration {
	shift := max(0, bucket>>latencyBits-1)
	lead := uint64(bucket - shift<<latencyBits)
	return time.Duration((lead+1)<<shift - 1)
}
