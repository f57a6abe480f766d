package admin

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// compactions counts what compaction does.
type compactions struct {
	done, failed         prometheus.Counter
	read, written, freed prometheus.Counter
	pauses               prometheus.Counter
}

func (c *compactions) register(r prometheus.Registerer) {
	runs := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "kvd_compaction_runs_total", Help: "Compactions; those that were given up changed nothing.",
	}, []string{"result"})
	bytes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "kvd_compaction_bytes_total", Help: "Bytes that compactions read, wrote, and gave back to the disk.",
	}, []string{"what"})
	c.done, c.failed = runs.WithLabelValues("done"), runs.WithLabelValues("given_up")
	c.read, c.written, c.freed = bytes.WithLabelValues("read"), bytes.WithLabelValues("written"), bytes.WithLabelValues("freed")
	c.pauses = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "kvd_compaction_pause_seconds_total", Help: "Time that compactions left the disk to others.",
	})
	r.MustRegister(runs, bytes, c.pauses)
}

// Compaction is one run of it, as the store tells of it.
type Compaction struct {
	Read, Written, Freed int64 // bytes
	Paused               time.Duration
	Failed               bool
}

// Compacted notes a compaction.
func (m *Metrics) Compacted(done Compaction) {
	c := &m.compactions
	if done.Failed {
		c.failed.Inc()
	} else {
		c.done.Inc()
	}
	c.read.Add(float64(done.Read))
	c.written.Add(float64(done.Written))
	c.freed.Add(float64(max(0, done.Freed)))
	c.pauses.Add(done.Paused.Seconds())
}
