package admin

import (
	"context"
	"net/http"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"kvd/kv"
)

// Metrics are the metrics of a server. All methods are safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry

	durations   [operationKinds]prometheus.Histogram
	sync        prometheus.Histogram
	batch       prometheus.Histogram
	commitBytes prometheus.Counter
	expired     prometheus.Counter
	compactions compactions
	scrubs      scrubs
	backups     backups
	ready       atomic.Pointer[func() bool]
	operations  operations
	slow        slowLog
}

// NewMetrics returns the metrics of a program of that version and source revision.
func NewMetrics(version, revision string) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	durations := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "kvd_operation_duration_seconds", Help: "Duration of calls into the store, by operation. One get in 16 is timed.",
		Buckets: prometheus.ExponentialBuckets(1e-6, 4, 12), // 1 µs to 4 s
	}, []string{"op"})
	for op, name := range operationNames {
		m.durations[op] = durations.WithLabelValues(name).(prometheus.Histogram)
	}
	m.slow.set(SlowDefault)
	m.sync = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "kvd_fsync_duration_seconds", Help: "Duration of syncs of groups of writes.",
		Buckets: prometheus.ExponentialBuckets(50e-6, 2, 16), // 50 µs to 1.6 s
	})
	m.batch = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "kvd_commit_batch_size", Help: "Records per sync.",
		Buckets: prometheus.ExponentialBuckets(1, 2, 13), // 1 to 4,096
	})
	m.commitBytes = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "kvd_commit_bytes_total", Help: "Bytes appended to the log.",
	})
	m.expired = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "kvd_expired_keys_total", Help: "Keys that expired.",
	})
	ready := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "kvd_ready", Help: "1 if /readyz answers 200.",
	}, func() float64 {
		isReady := m.ready.Load()
		return flag(isReady != nil && (*isReady)())
	})
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "kvd_build_info", Help: "Always 1. The labels are the version, source revision and Go version.",
		ConstLabels: prometheus.Labels{"version": version, "revision": revision, "goversion": runtime.Version()},
	})
	build.Set(1)
	slow := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "kvd_slow_calls_total", Help: "Calls into the store that took at least the threshold of the slow log.",
	}, func() float64 { return float64(m.slow.count.Load()) })
	m.compactions.register(m.registry)
	m.scrubs.register(m.registry)
	m.backups.register(m.registry)
	m.registry.MustRegister(
		durations, m.sync, m.batch, m.commitBytes, m.expired, ready, build, slow, &m.operations,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return m
}

// Committed counts a group of writes that is durable. expired of its records are
// expiry markers. took is 0 for a group that a later sync makes durable; for that sync
// the other numbers are 0.
func (m *Metrics) Committed(records, expired, bytes int, sync time.Duration) {
	m.expired.Add(float64(expired))
	if sync > 0 {
		m.sync.Observe(sync.Seconds())
	}
	if records > 0 {
		m.batch.Observe(float64(records))
	}
	m.commitBytes.Add(float64(bytes))
}

// Connections registers the function that returns the number of connections of a
// protocol. It is called once for each protocol.
func (m *Metrics) Connections(protocol string, count func() int) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "kvd_connections", Help: "Open connections, by protocol.", ConstLabels: prometheus.Labels{"protocol": protocol},
	}, func() float64 { return float64(count()) }))
}

// Clock registers the functions that return how far the clock leapt while the store was
// closed, 0 if that was accepted, and for how long the machine was suspended since the store
// was opened. It is called once.
func (m *Metrics) Clock(leap, suspended func() time.Duration) {
	for _, g := range []struct {
		name, help string
		read       func() time.Duration
	}{
		{"kvd_clock_leap_seconds", "How far the wall clock leapt while the store was closed, if nobody accepted it: what expired by the leap alone waits.", leap},
		{"kvd_clock_suspended_seconds", "Time for which the machine was suspended since the store was opened.", suspended},
	} {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: g.name, Help: g.help}, func() float64 { return g.read().Seconds() }))
	}
}

// Files registers the number of files that the store has open, and may have open at most. It is
// called once.
func (m *Metrics) Files(count func() (open, limit int)) {
	m.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "kvd_store_files_open", Help: "Files that the store has open.",
		}, func() float64 { open, _ := count(); return float64(open) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "kvd_store_files_max", Help: "Files that the store may have open at most. Beyond it, files of buckets that were not written to for long are closed.",
		}, func() float64 { _, limit := count(); return float64(limit) }),
	)
}

// Describe registers the store whose buckets each scrape describes. It is called once.
func (m *Metrics) Describe(s kv.Store) {
	m.registry.MustRegister(&bucketCollector{s, &m.operations})
}

func (m *Metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// observe records the duration of a call that began at start. t is the tally of its bucket; nil:
// none counts it.
func (m *Metrics) observe(ctx context.Context, t *tally, c call, start time.Time, err error) {
	took := time.Since(start)
	m.durations[c.op].Observe(took.Seconds())
	if t != nil {
		t.time(c.op, took)
	}
	if int64(took) >= m.slow.threshold.Load() {
		m.slow.add(ctx, c, start, took, err)
	}
}
