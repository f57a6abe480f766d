package admin

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kvd/kv"
	"kvd/kv/msglog"
)

// operation is a kind of call.
type operation int

const (
	opPut operation = iota
	opCreate
	opUpdate
	opDelete
	opPurge
	opTouch
	opGet
	opHistory
	opKeys
	opAll
	opWatch
	opCompact
	opConfigure
	opReclaim
	operationKinds
)

var operationNames = [operationKinds]string{
	"put", "create", "update", "delete", "purge", "touch", "get", "history", "keys", "all", "watch", "compact", "configure", "reclaim",
}

// mutationOps maps a mutation to its operation.
var mutationOps = [...]operation{
	kv.MutatePut: opPut, kv.MutateCreate: opCreate, kv.MutateUpdate: opUpdate,
	kv.MutateDelete: opDelete, kv.MutatePurge: opPurge, kv.MutateTouch: opTouch, msglog.Append: opPut,
}

// result is the outcome of an operation.
type result int

const (
	resultOK result = iota
	resultNotFound
	resultConflict
	resultLimit
	resultInvalid
	resultError
	resultKinds
)

var resultNames = [resultKinds]string{"ok", "not_found", "conflict", "limit", "invalid", "error"}

// resultRules map errors to results. All other errors are resultError.
var resultRules = []struct {
	result result
	errs   []error
}{
	{resultNotFound, []error{kv.ErrKeyNotFound, kv.ErrBucketNotFound, kv.ErrCompacted, kv.ErrFutureRevision}},
	{resultConflict, []error{kv.ErrKeyExists, kv.ErrKeyRevisionMismatch, kv.ErrBucketExists, kv.ErrDigestMismatch, kv.ErrContended}},
	{resultLimit, []error{kv.ErrValueTooLarge, kv.ErrBucketFull, kv.ErrHistoryTooLarge, kv.ErrTxnTooLarge, kv.ErrNoSpace, kv.ErrTooManyFiles}},
	{resultInvalid, []error{kv.ErrInvalidBucketName, kv.ErrInvalidKey, kv.ErrInvalidPattern, kv.ErrInvalidConfig, kv.ErrInvalidOption, kv.ErrInvalidRecord, kv.ErrInvalidTxn, kv.ErrNotSupported}},
}

func resultOf(err error) result {
	if err == nil {
		return resultOK
	}
	for _, rule := range resultRules {
		for _, target := range rule.errs {
			if errors.Is(err, target) {
				return rule.result
			}
		}
	}
	return resultError
}

// tally counts the operations on one bucket.
type tally struct {
	counts [operationKinds][resultKinds]atomic.Uint64
	gets   counter // successful ones; a shared number would slow concurrent reads

	damaged atomic.Uint64 // entries and answers that damage made an error

	timed [operationKinds]struct{ calls, nanos atomic.Uint64 } // the calls whose duration is known
}

// time counts the duration of a call.
func (t *tally) time(op operation, took time.Duration) {
	t.timed[op].calls.Add(1)
	t.timed[op].nanos.Add(uint64(max(took, 0)))
}

func (t *tally) count(op operation, err error) {
	t.counts[op][resultOf(err)].Add(1)
	t.countDamage(err)
}

func (t *tally) countDamage(err error) {
	if err != nil && errors.Is(err, kv.ErrCorrupt) {
		t.damaged.Add(1)
	}
}

// of returns the number of operations with that result.
func (t *tally) of(op operation, r result) uint64 {
	n := t.counts[op][r].Load()
	if op == opGet && r == resultOK {
		n += t.gets.sum()
	}
	return n
}

// talliesMax is the most buckets with a tally, and series, of their own.
const talliesMax = 256

// operations are the tallies of all buckets. It implements prometheus.Collector.
type operations struct {
	byBucket  sync.Map // string → *tally
	mu        sync.Mutex
	named     int           // in byBucket; guarded by mu
	rest      tally         // of buckets without one
	conflicts atomic.Uint64 // of removed tallies
}

// ofMutation returns the tally that counts a mutation. A new one is made only if the
// outcome shows that the bucket exists, because clients choose the names.
func (o *operations) ofMutation(m *kv.Mutation) *tally {
	if t, ok := o.byBucket.Load(m.Bucket); ok {
		return t.(*tally)
	}
	if r := resultOf(m.Err); r == resultOK || r == resultConflict {
		return o.of(m.Bucket)
	}
	return &o.rest
}

// of returns the tally of an existing bucket. The name is not kept.
func (o *operations) of(bucket string) *tally {
	o.mu.Lock()
	defer o.mu.Unlock()
	if t, ok := o.byBucket.Load(bucket); ok {
		return t.(*tally)
	}
	if o.named == talliesMax {
		return &o.rest
	}
	t := new(tally)
	o.byBucket.Store(strings.Clone(bucket), t) // it may be a view of a connection's buffer
	o.named++
	return t
}

// remove ends the series of a deleted bucket.
func (o *operations) remove(bucket string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if t, ok := o.byBucket.LoadAndDelete(bucket); ok {
		o.named--
		o.conflicts.Add(t.(*tally).conflicts())
	}
}

func (t *tally) conflicts() (n uint64) {
	for op := range operationKinds {
		n += t.of(op, resultConflict)
	}
	return n
}

var (
	operationsDesc = prometheus.NewDesc("kvd_operations_total", "Operations answered.", []string{"op", "result", "bucket"}, nil)
	damagedDesc    = prometheus.NewDesc("kvd_damaged_reads_total", "Entries and answers that are an error because of damage.", byBucket, nil)
	conflictsDesc  = prometheus.NewDesc("kvd_cas_conflicts_total", "Writes refused because of their condition.", nil, nil)
)

// Describe implements prometheus.Collector.
func (o *operations) Describe(ch chan<- *prometheus.Desc) {
	ch <- operationsDesc
	ch <- damagedDesc
	ch <- conflictsDesc
}

// Collect implements prometheus.Collector. It omits counters that are zero.
func (o *operations) Collect(ch chan<- prometheus.Metric) {
	conflicts := o.conflicts.Load() + o.rest.conflicts()
	o.rest.collect("", ch)
	o.byBucket.Range(func(name, t any) bool {
		t.(*tally).collect(name.(string), ch)
		conflicts += t.(*tally).conflicts()
		return true
	})
	ch <- prometheus.MustNewConstMetric(conflictsDesc, prometheus.CounterValue, float64(conflicts))
}

func (t *tally) collect(bucket string, ch chan<- prometheus.Metric) {
	if n := t.damaged.Load(); n > 0 {
		ch <- prometheus.MustNewConstMetric(damagedDesc, prometheus.CounterValue, float64(n), bucket)
	}
	for op := range operationKinds {
		for r := range resultKinds {
			if n := t.of(op, r); n > 0 {
				ch <- prometheus.MustNewConstMetric(operationsDesc, prometheus.CounterValue, float64(n),
					operationNames[op], resultNames[r], bucket)
			}
		}
	}
}
