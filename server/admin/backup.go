package admin

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// backups are the metrics of backups.
type backups struct{ last prometheus.Gauge }

func (b *backups) register(r prometheus.Registerer) {
	b.last = prometheus.NewGauge(prometheus.GaugeOpts{Name: "kvd_last_backup_timestamp_seconds", Help: "Time of the newest backup that this server has sent as a whole, Unix time; 0: none."})
	r.MustRegister(b.last)
}

// BackedUp says that a backup was sent, with the state of that time. Safe for concurrent use.
func (m *Metrics) BackedUp(at time.Time) { m.backups.last.Set(float64(at.UnixMilli()) / 1000) }
