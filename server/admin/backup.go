package admin

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// backups are the metrics of backups.
type backups struct {
	last     prometheus.Gauge
	failures prometheus.Counter
	uploaded prometheus.Counter
	unsent   prometheus.Counter
}

func (b *backups) register(r prometheus.Registerer) {
	b.last = prometheus.NewGauge(prometheus.GaugeOpts{Name: "kvd_last_backup_timestamp_seconds", Help: "Time of the newest backup that this server has sent as a whole, or has made in its repository, Unix time; 0: none."})
	b.failures = prometheus.NewCounter(prometheus.CounterOpts{Name: "kvd_backup_failures_total", Help: "Attempts to make a backup in the repository of --backup that failed."})
	b.uploaded = prometheus.NewCounter(prometheus.CounterOpts{Name: "kvd_backup_uploaded_bytes_total", Help: "Bytes that backups put into the repository of --backup."})
	b.unsent = prometheus.NewCounter(prometheus.CounterOpts{Name: "kvd_ship_failures_total", Help: "Attempts to put the log, or a backup, into the repository of --ship that failed."})
	r.MustRegister(b.last, b.failures, b.uploaded, b.unsent)
}

// BackedUp says that a backup was sent or made, with the state of that time. Safe for concurrent use.
func (m *Metrics) BackedUp(at time.Time) { m.backups.last.Set(float64(at.UnixMilli()) / 1000) }

// BackupUploaded counts bytes that a backup put into the server's repository. Safe for concurrent use.
func (m *Metrics) BackupUploaded(bytes int64) { m.backups.uploaded.Add(float64(bytes)) }

// BackupFailed counts a backup that failed. Safe for concurrent use.
func (m *Metrics) BackupFailed() { m.backups.failures.Inc() }

// ShipFailed counts an attempt to ship that failed. Safe for concurrent use.
func (m *Metrics) ShipFailed() { m.backups.unsent.Inc() }

// Ship makes the lag of shipping a metric. Call it once.
func (m *Metrics) Ship(lag func() time.Duration) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "kvd_ship_lag_seconds", Help: "How long the oldest write that is not in the repository of --ship has waited, seconds."},
		func() float64 { return lag().Seconds() }))
}
