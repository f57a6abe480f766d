//go:build linux

package workload

import (
	"fmt"

	"kvd/bench/report"
)

// puts are durable puts of new keys into a new store, by closed-loop callers.
func puts() (steps []Step) {
	for _, callers := range []int{1, 16, 64, 256} {
		name := fmt.Sprintf("put-%d", callers)
		title := fmt.Sprintf("put, %d callers", callers)
		if callers == 1 {
			title = "put, 1 caller"
		}
		steps = append(steps, Step{
			Name: name,
			Rows: []report.Heading{
				{Name: name, Title: title, Unit: "puts/s"},
				{Name: name + "-p99", Title: title + ": p99", Unit: "ms", LowerIsBetter: true},
				{Name: name + "-p999", Title: title + ": p99.9", Unit: "ms", LowerIsBetter: true},
			},
			PutOnly: true,
			run:     func(j *job) error { return j.put(name, callers) },
		})
	}
	return steps
}

func (j *job) put(name string, callers int) error {
	c := &Crowd{Callers: callers, Time: j.Time}
	err := j.with(name, func(e Engine) error {
		return c.Run(func(_, n int) error { return e.Put(Key(n), Value(n, 0)) })
	})
	if err != nil {
		return err
	}
	j.report(name, c.PerSecond)
	j.report(name+"-p99", c.Percentile(0.99))
	j.report(name+"-p999", c.Percentile(0.999))
	if j.peer.PutOnly {
		return nil
	}
	return j.with(name, func(e Engine) error { return readBack(e, c.Called, always(0)) })
}
