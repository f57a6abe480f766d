//go:build linux

package workload

import (
	"time"

	"kvd/bench/report"
)

// Batch is the number of values that PutAll is given.
const Batch = 10_000

// loading is the name of the step that makes the loaded store.
const loading = "load"

// load fills the store that the next steps read.
func load(s Setting) Step {
	return Step{
		Name: loading,
		Rows: []report.Heading{{Name: "load", Title: s.of("bulk load of %s keys"), Unit: "puts/s"}},
		run: func(j *job) error {
			return j.with(loaded, func(e Engine) error {
				start := time.Now()
				if err := fill(e, j.Keys, 0); err != nil {
					return err
				}
				j.report("load", float64(j.Keys)/time.Since(start).Seconds())
				return readBack(e, j.Keys, always(0))
			})
		},
	}
}

// fill puts n keys for the generation-th time.
func fill(e Engine, n, generation int) error {
	keys, values := make([]string, 0, Batch), make([][]byte, 0, Batch)
	for from := 0; from < n; from += Batch {
		keys, values = keys[:0], values[:0]
		for i := from; i < min(n, from+Batch); i++ {
			keys, values = append(keys, Key(i)), append(values, Value(i, generation))
		}
		if err := e.PutAll(keys, values); err != nil {
			return err
		}
	}
	return nil
}
