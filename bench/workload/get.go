//go:build linux

package workload

import (
	"fmt"
	"math/rand/v2"

	"kvd/bench/report"
)

// get reads random keys of the loaded store.
func get(s Setting) Step {
	readers := []int{1, 2, 16}
	if s.Kind == Server {
		readers = []int{1, 16, 64}
	}
	step := Step{Name: "get", After: loading, run: func(j *job) error { return j.get(readers) }}
	for _, n := range readers {
		title := fmt.Sprintf("get of %%s keys, %d callers", n)
		if n == 1 {
			title = "get of %s keys, 1 caller"
		}
		step.Rows = append(step.Rows, report.Heading{Name: getRow(n), Title: s.of(title), Unit: "gets/s"})
	}
	return step
}

func getRow(readers int) string { return fmt.Sprintf("get-%d", readers) }

func (j *job) get(readers []int) error {
	return j.with(loaded, func(e Engine) error {
		warm := &Crowd{Callers: 16, Time: 2 * j.Time}
		if err := warm.Run(func(_, n int) error { return getOne(e, n%j.Keys) }); err != nil {
			return err
		}
		for _, n := range readers {
			random := make([]*rand.Rand, n)
			for i := range random {
				random[i] = rand.New(rand.NewPCG(uint64(n), uint64(i)))
			}
			c := &Crowd{Callers: n, Time: j.Time}
			if err := c.Run(func(caller, _ int) error { return getOne(e, random[caller].IntN(j.Keys)) }); err != nil {
				return err
			}
			j.report(getRow(n), c.PerSecond)
		}
		return nil
	})
}

// getOne reads a key of the loaded store and compares it.
func getOne(e Engine, n int) error {
	got, err := e.Get(Key(n))
	if err != nil {
		return err
	}
	return check(got, n, 0)
}
