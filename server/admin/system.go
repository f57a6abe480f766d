package admin

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"kvd/server"
)

// Space is how a store uses its disk. Sizes are bytes.
type Space struct {
	Free, Total uint64 // of the file system; zeros: not known
	Log, LogMax int64
	Reserve     int64
	Full        bool
}

// Space registers the function that returns how the store uses its disk. It is called once.
func (m *Metrics) Space(read func() Space) { m.registry.MustRegister(&spaceCollector{read}) }

// spaceCollector implements prometheus.Collector.
type spaceCollector struct{ read func() Space }

var (
	diskFreeDesc  = prometheus.NewDesc("kvd_disk_free_bytes", "Bytes that are free on the file system of the store.", nil, nil)
	diskTotalDesc = prometheus.NewDesc("kvd_disk_total_bytes", "Size of the file system of the store.", nil, nil)
	diskFullDesc  = prometheus.NewDesc("kvd_disk_full", "1 if puts are refused for want of space.", nil, nil)
	logDesc       = prometheus.NewDesc("kvd_log_bytes", "Bytes of the log that a checkpoint has not released yet.", nil, nil)
	logMaxDesc    = prometheus.NewDesc("kvd_log_max_bytes", "Size of the log at which writers wait for a checkpoint.", nil, nil)
	reserveDesc   = prometheus.NewDesc("kvd_reserve_bytes", "Bytes of the reserve for deletes on a full disk.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c *spaceCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{diskFreeDesc, diskTotalDesc, diskFullDesc, logDesc, logMaxDesc, reserveDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *spaceCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.read()
	if s.Total > 0 {
		gauge(ch, diskFreeDesc, float64(s.Free))
		gauge(ch, diskTotalDesc, float64(s.Total))
	}
	gauge(ch, diskFullDesc, flag(s.Full))
	gauge(ch, logDesc, float64(s.Log))
	gauge(ch, logMaxDesc, float64(s.LogMax))
	gauge(ch, reserveDesc, float64(s.Reserve))
}

// Admissions registers the function that returns how many connections of a protocol were accepted
// and refused. It is called once for each protocol.
func (m *Metrics) Admissions(protocol string, read func() server.Counts) {
	m.counter("kvd_connections_accepted_total", "Connections accepted, by protocol.", prometheus.Labels{"protocol": protocol},
		func() uint64 { return read().Accepted })
	m.counter("kvd_connections_refused_total", "Connections refused because of a limit, by protocol.", prometheus.Labels{"protocol": protocol},
		func() uint64 { return read().Refused })
}

// Logins registers the function that returns the number of logins. It is called once.
func (m *Metrics) Logins(read func() server.LoginCounts) {
	for result, of := range map[string]func(server.LoginCounts) uint64{
		"accepted": func(c server.LoginCounts) uint64 { return c.Accepted },
		"failed":   func(c server.LoginCounts) uint64 { return c.Failed },
		"refused":  func(c server.LoginCounts) uint64 { return c.Refused },
	} {
		m.counter("kvd_logins_total", "Logins. failed: wrong name, password or key; refused: too many attempts, without a check.",
			prometheus.Labels{"result": result}, func() uint64 { return of(read()) })
	}
}

// Certificate registers the function that returns when the certificate of the server expires. It
// is called once, on a server with TLS.
func (m *Metrics) Certificate(expires func() time.Time) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "kvd_certificate_expiry_timestamp_seconds", Help: "When the certificate of the server expires, Unix time.",
	}, func() float64 { return float64(expires().Unix()) }))
}

// counter registers a counter that a function reads.
func (m *Metrics) counter(name, help string, labels prometheus.Labels, read func() uint64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: name, Help: help, ConstLabels: labels,
	}, func() float64 { return float64(read()) }))
}
