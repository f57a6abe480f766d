//go:build linux

package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kvd/bench/report"
)

// flags of the program.
var (
	rounds  = flag.Int("rounds", 5, "how often each variant runs")
	counted = flag.Duration("time", time.Second, "how long each run counts")
	only    = flag.String("only", "", "measure only rows whose name contains this")
	results = flag.String("results", "results", "directory of the samples, to which the rounds are added, and of the table and the chart")
	warm    = 200 * time.Millisecond // before each measurement
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == generateVerb {
		exit(generate(os.Args[2:]))
	}
	if len(os.Args) > 2 && os.Args[1] == floorVerb {
		exit(serveFloor(os.Args[2]))
	}
	rendering := len(os.Args) > 1 && os.Args[1] == "render"
	if rendering {
		os.Args = os.Args[1:]
	}
	flag.Parse()
	name := filepath.Join(*results, "raw")
	if rendering {
		exit(render(name))
	}
	exit(measure(name + ".json"))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "redis:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func measure(file string) error {
	samples, err := report.Load(file)
	if err != nil {
		return err
	}
	s, err := start(context.Background())
	if err != nil {
		return err
	}
	defer s.stop()
	if err := s.prefill(); err != nil {
		return err
	}
	for _, c := range columns {
		samples.Column(report.Heading{Name: c, Title: c})
	}
	for i := range *rounds {
		round, err := samples.Begin()
		if err != nil {
			return err
		}
		for _, r := range s.rows(i == 0) {
			if strings.Contains(r.heading.Name, *only) {
				if err := r.measure(samples, round); err != nil {
					return fmt.Errorf("%s: %w", r.heading.Name, err)
				}
				if err := samples.Save(file); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// render writes the table and the chart.
func render(name string) error {
	samples, err := report.Load(name + ".json")
	if err != nil {
		return err
	}
	if samples.Rounds() == 0 {
		return fmt.Errorf("%s.json has no samples", name)
	}
	page, err := os.Create(name + ".md")
	if err != nil {
		return err
	}
	defer page.Close()
	fmt.Fprint(page, "Each cell is the median of the rounds, with the least and the greatest value. "+
		"A ratio tells how many times as good as the other column kvd is; below 1, in bold, kvd is behind.\n\n")
	if err := samples.Setting(page); err != nil {
		return err
	}
	fmt.Fprintln(page)
	if err := samples.Ratios(page, kvdColumn, redisColumn, benchmarkColumn, floorColumn, aloneColumn); err != nil {
		return err
	}
	fmt.Fprint(page, "\n## All values\n\n")
	if err := samples.Values(page); err != nil {
		return err
	}
	chart, err := os.Create(name + ".svg")
	if err != nil {
		return err
	}
	defer chart.Close()
	return draw(samples, chart)
}

func draw(samples *report.Run, w io.Writer) error {
	return samples.RatioChart(w, "Raw connections: how many times as good as Redis kvd is", kvdColumn, redisColumn, benchmarkColumn, floorColumn)
}
