package admin

import (
	"cmp"
	"slices"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/prometheus/client_golang/prometheus"
)

// Top is what clients have asked of the store since the server's start. Two of them give rates
// and latencies of the time between.
type Top struct {
	Time       time.Time      `json:"time"`
	Operations []TopOperation `json:"operations"` // by bucket and operation; without those that never happened
	Latencies  []TopLatency   `json:"latencies"`  // by operation, in all buckets
}

// TopOperation counts an operation on a bucket.
type TopOperation struct {
	Bucket    string  `json:"bucket"` // empty: all buckets beyond the first 256
	Operation string  `json:"operation"`
	OK        uint64  `json:"ok"`
	Failed    uint64  `json:"failed"` // with any other result
	Calls     uint64  `json:"calls"`  // that were timed: one get in 16, one call for pipelined writes
	Seconds   float64 `json:"seconds"`
}

// TopLatency is the histogram of an operation's duration.
type TopLatency struct {
	Operation string      `json:"operation"`
	Calls     uint64      `json:"calls"`
	Seconds   float64     `json:"seconds"` // of all calls together
	Buckets   []TopBucket `json:"buckets"` // calls above the last bound are in Calls alone
}

// TopBucket counts the calls of at most that duration.
type TopBucket struct {
	Seconds float64 `json:"seconds"`
	Calls   uint64  `json:"calls"` // those of the buckets before included
}

// top returns the present numbers.
func (m *Metrics) top() Top {
	t := Top{Time: time.Now().UTC(), Operations: m.operations.top(), Latencies: []TopLatency{}}
	for op := range operationKinds {
		if l := latencyOf(m.durations[op]); l.Calls > 0 {
			l.Operation = operationNames[op]
			t.Latencies = append(t.Latencies, l)
		}
	}
	return t
}

// latencyOf reads a histogram.
func latencyOf(h prometheus.Histogram) TopLatency {
	var m dto.Metric
	if h.Write(&m) != nil { // of a histogram it is always nil
		return TopLatency{}
	}
	l := TopLatency{Calls: m.Histogram.GetSampleCount(), Seconds: m.Histogram.GetSampleSum()}
	for _, b := range m.Histogram.GetBucket() {
		l.Buckets = append(l.Buckets, TopBucket{b.GetUpperBound(), b.GetCumulativeCount()})
	}
	return l
}

// top returns the operations of all buckets, by bucket and operation.
func (o *operations) top() []TopOperation {
	list := o.rest.top("", []TopOperation{})
	o.byBucket.Range(func(name, t any) bool {
		list = t.(*tally).top(name.(string), list)
		return true
	})
	slices.SortFunc(list, func(a, b TopOperation) int {
		return cmp.Or(cmp.Compare(a.Bucket, b.Bucket), cmp.Compare(a.Operation, b.Operation))
	})
	return list
}

// top adds the operations of a bucket to a list.
func (t *tally) top(bucket string, list []TopOperation) []TopOperation {
	for op := range operationKinds {
		o := TopOperation{Bucket: bucket, Operation: operationNames[op], OK: t.of(op, resultOK)}
		for r := resultOK + 1; r < resultKinds; r++ {
			o.Failed += t.of(op, r)
		}
		if o.OK+o.Failed == 0 {
			continue
		}
		o.Calls = t.timed[op].calls.Load()
		o.Seconds = time.Duration(t.timed[op].nanos.Load()).Seconds()
		list = append(list, o)
	}
	return list
}
