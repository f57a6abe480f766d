package admin

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// compactions are the metrics of compactions.
type compactions struct {
	done, failed         prometheus.Counter
	read, written, freed prometheus.Counter
	pauses               prometheus.Counter
}

func (c *compactions) register(r prometheus.Registerer) {
	runs := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "kvd_compaction_runs_total", Help: "Compactions. Those given up changed nothing.",
	}, []string{"result"})
	bytes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "kvd_compaction_bytes_total", Help: "Bytes that compactions read, wrote and freed on disk.",
	}, []string{"what"})
	c.done, c.failed = runs.WithLabelValues("done"), runs.WithLabelValues("given_up")
	c.read, c.written, c.freed = bytes.WithLabelValues("read"), bytes.WithLabelValues("written"), bytes.WithLabelValues("freed")
	c.pauses = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "kvd_compaction_pause_seconds_total", Help: "Time compactions spent throttled.",
	})
	r.MustRegister(runs, bytes, c.pauses)
}

// Compaction is what the store reports of one compaction.
type Compaction struct {
	Read, Written, Freed int64 // bytes
	Paused               time.Duration
	Failed               bool
}

// Compacted counts a compaction.
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
