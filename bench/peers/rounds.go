//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"kvd/bench/report"
	"kvd/bench/workload"
)

// measurement is what the flags ask for.
type measurement struct {
	workload.Setting
	rounds int
	dir    string
	file   string   // of samples
	steps  []string // beginnings of the names of steps; empty: all
	only   []string // names of peers; empty: all
}

// run measures the rounds. A peer that fails in a step is left out of its other steps of the
// round; the errors are returned when all rounds are over.
func (m *measurement) run() error {
	samples, err := report.Load(m.file)
	if err != nil {
		return err
	}
	base, err := os.MkdirTemp(m.dir, "kvd-bench-peers-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(base)
	programs, err := m.programs(base)
	if err != nil {
		return err
	}
	for _, p := range programs {
		samples.Column(report.Heading{Name: p.peer, Title: p.peer, Version: p.version, Limit: p.putOnly})
	}
	var failed []error
	for range m.rounds {
		round, err := samples.Begin()
		if err != nil {
			return err
		}
		failed = append(failed, m.round(samples, round, base, programs)...)
	}
	return errors.Join(failed...)
}

// round has every peer do each step, and the next peer begin in the next round. The samples are
// saved after every step.
func (m *measurement) round(samples *report.Run, round int, base string, programs []program) (failed []error) {
	order := slices.Concat(programs[round%len(programs):], programs[:round%len(programs)])
	broken := make(map[string]bool)
	for _, step := range workload.Choose(workload.Steps(m.Setting), m.steps) {
		for _, p := range order {
			if broken[p.peer] || p.putOnly && !step.PutOnly {
				continue
			}
			for _, row := range step.Rows {
				samples.Row(row)
			}
			err := p.do(step, filepath.Join(base, p.peer), m.Setting, func(got workload.Message) {
				samples.Add(report.Sample{Row: got.Row, Column: p.peer, Round: round, Value: got.Value})
				fmt.Printf("round %d  %-12s %-10s %12.4g\n", round, got.Row, p.peer, got.Value)
			})
			if err != nil {
				fmt.Fprintln(os.Stderr, "peers:", err)
				failed = append(failed, err)
				broken[p.peer] = true
			}
		}
		if err := samples.Save(m.file); err != nil {
			return append(failed, err)
		}
	}
	for _, p := range programs {
		os.RemoveAll(filepath.Join(base, p.peer))
	}
	return failed
}
