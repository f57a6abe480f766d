package admin

import "github.com/prometheus/client_golang/prometheus"

// scrubs are the metrics of the scrub, which reads all segments in the background.
type scrubs struct {
	read, damages, passes prometheus.Counter
	progress              prometheus.Gauge
	last                  Scrub
}

func (c *scrubs) register(r prometheus.Registerer) {
	c.read = prometheus.NewCounter(prometheus.CounterOpts{Name: "kvd_scrub_bytes_total", Help: "Bytes of segments that the scrub has read or passed by."})
	c.damages = prometheus.NewCounter(prometheus.CounterOpts{Name: "kvd_scrub_damages_total", Help: "Places that the scrub found damaged, counted again in each pass."})
	c.passes = prometheus.NewCounter(prometheus.CounterOpts{Name: "kvd_scrub_passes_total", Help: "Complete passes of the scrub over all segments."})
	c.progress = prometheus.NewGauge(prometheus.GaugeOpts{Name: "kvd_scrub_progress_ratio", Help: "Part of the segments that the present pass of the scrub has done, 0 to 1."})
	r.MustRegister(c.read, c.damages, c.passes, c.progress)
}

// Scrub is what the store reports of its scrub.
type Scrub struct {
	Done, Total int64  // bytes, of the pass under way
	Passes      uint64 // that are complete
	Damages     uint64 // places found damaged, in all passes
}

// Scrubbed takes the progress of the scrub. Only one goroutine at a time may call it.
func (m *Metrics) Scrubbed(s Scrub) {
	c := &m.scrubs
	read := s.Done - c.last.Done
	if read < 0 { // of a new pass
		read = s.Done
	}
	c.read.Add(float64(read))
	c.damages.Add(float64(s.Damages - c.last.Damages))
	c.passes.Add(float64(s.Passes - c.last.Passes))
	c.progress.Set(float64(s.Done) / float64(max(s.Total, 1)))
	c.last = s
}
