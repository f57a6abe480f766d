//go:build linux

package main

import (
	"fmt"

	"kvd/bench/report"
)

// The columns.
const (
	kvdColumn       = "kvd"
	redisColumn     = "redis"
	benchmarkColumn = "redis-benchmark on redis"
	floorColumn     = "floor"
	aloneColumn     = "kvd without idle connections"
)

var columns = []string{kvdColumn, redisColumn, benchmarkColumn, floorColumn, aloneColumn}

// row is a kind of load, and a way to make it for each of some columns.
type row struct {
	heading  report.Heading
	variants []variant
}

type variant struct {
	column string
	run    func() (value float64, err error)
}

// measure runs the variants, and begins with another one in the next round.
func (r row) measure(samples *report.Run, round int) error {
	samples.Row(r.heading)
	for i := range r.variants {
		v := r.variants[(i+round)%len(r.variants)]
		value, err := v.run()
		if err != nil {
			return fmt.Errorf("%s: %w", v.column, err)
		}
		samples.Add(report.Sample{Row: r.heading.Name, Column: v.column, Round: round, Value: value})
		fmt.Printf("round %d  %-20s %-30s %12.4g\n", round, r.heading.Name, v.column, value)
	}
	return nil
}

// rows returns the rows of a round. Memory is measured in the first one alone: a server that
// had idle connections keeps what it took for them.
func (s *servers) rows(first bool) (rows []row) {
	if first {
		rows = append(rows, s.idleMemory())
	}
	rows = append(rows, s.raw("put", 16, 1, fewKeys))
	for _, keys := range []int{fewKeys, manyKeys} {
		rows = append(rows, s.raw("get", 16, 1, keys), s.raw("get", 1, 64, keys), s.raw("get", 16, 64, keys))
	}
	return append(rows, s.besideIdle("get"), s.besideIdle("put"))
}

// raw loads both servers with the generator, and Redis with redis-benchmark; with gets also the
// floor.
func (s *servers) raw(command string, conns, depth, keys int) row {
	title := fmt.Sprintf("%s, %d × %d in flight", command, conns, depth)
	if command == "get" {
		title += fmt.Sprintf(", %d k keys", keys/1000)
	}
	variants := []variant{
		{kvdColumn, func() (float64, error) { return generated("line", s.kvdAddr, command, conns, depth, keys) }},
		{redisColumn, func() (float64, error) { return generated("resp", s.redisAddr, command, conns, depth, keys) }},
		{benchmarkColumn, func() (float64, error) { return redisBenchmark(s.redisAddr, command, conns, depth, keys) }},
	}
	if command == "get" {
		variants = append(variants, variant{floorColumn, func() (float64, error) {
			return generated("line", s.floorAddr, command, conns, depth, keys)
		}})
	}
	heading := report.Heading{Name: fmt.Sprintf("%s-%dx%d-%d", command, conns, depth, keys), Title: title, Unit: command + "s/s"}
	return row{heading, variants}
}

// besideIdle loads kvd with and without thousands of idle connections.
func (s *servers) besideIdle(command string) row {
	busy := func() (float64, error) { return generated("line", s.kvdAddr, command, 16, 1, fewKeys) }
	return row{
		report.Heading{Name: command + "-idle", Title: fmt.Sprintf("%s, 16 × 1, beside %d idle connections", command, idleCount), Unit: command + "s/s"},
		[]variant{
			{aloneColumn, busy},
			{kvdColumn, func() (float64, error) {
				idle, err := openIdle(s.kvdAddr)
				if err != nil {
					return 0, err
				}
				defer idle.close()
				return busy()
			}},
		},
	}
}

// idleMemory is the memory of an idle connection.
func (s *servers) idleMemory() row {
	return row{
		report.Heading{Name: "idle-memory", Title: "memory of an idle connection", Unit: "KiB", LowerIsBetter: true},
		[]variant{{kvdColumn, func() (float64, error) {
			before, err := residentBytes(s.kvd.Process.Pid)
			if err != nil {
				return 0, err
			}
			idle, err := openIdle(s.kvdAddr)
			if err != nil {
				return 0, err
			}
			defer idle.close()
			after, err := residentBytes(s.kvd.Process.Pid)
			return float64(after-before) / 1024 / idleCount, err
		}}},
	}
}
