//go:build linux

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"kvd/bench/report"
	"kvd/bucket"
)

// dimension is what grows, and what is measured as it does.
type dimension struct {
	name, title string
	unit        string // of the size; empty if it is a number
	sizes       []int
	columns     []report.Heading
	measure     func(*trial) error
}

var dimensions = []dimension{keys, buckets, history, values, keyLength, watchers}

// trial is the measurement of one size, on a new store.
type trial struct {
	size   int
	time   time.Duration // for which puts and gets count
	dir    string        // of the store
	store  *bucket.Store
	report func(column string, value float64)
}

// round measures every size once, and adds the samples to those of the dimension.
func (d dimension) round(results, dir string, most int, counted time.Duration) error {
	file := filepath.Join(results, d.name+".json")
	samples, err := report.Load(file)
	if err != nil {
		return err
	}
	round, err := samples.Begin()
	if err != nil {
		return err
	}
	for _, c := range d.columns {
		samples.Column(c)
	}
	for _, size := range d.sizes {
		if size > most {
			continue
		}
		row := fmt.Sprint(size)
		samples.Row(report.Heading{Name: row, Title: d.label(size), Size: float64(size)})
		err := d.try(dir, size, counted, func(column string, value float64) {
			samples.Add(report.Sample{Row: row, Column: column, Round: round, Value: value})
			fmt.Printf("%s, round %d, %s: %-12s %12.4g\n", d.name, round, d.label(size), column, value)
		})
		if err != nil {
			return fmt.Errorf("%d: %w", size, err)
		}
	}
	return samples.Save(file)
}

// label writes a size: 64 Ki bytes, a million keys.
func (d dimension) label(size int) string {
	switch {
	case d.unit == "B" && size >= 1<<20:
		return fmt.Sprintf("%d MiB", size>>20)
	case d.unit == "B" && size >= 1<<10:
		return fmt.Sprintf("%d KiB", size>>10)
	case d.unit != "":
		return fmt.Sprintf("%d %s", size, d.unit)
	case size >= 1_000_000 && size%1_000_000 == 0:
		return fmt.Sprintf("%d M", size/1_000_000)
	case size >= 1000 && size%1000 == 0:
		return fmt.Sprintf("%d k", size/1000)
	}
	return fmt.Sprint(size)
}

// try measures a size on a new store.
func (d dimension) try(base string, size int, counted time.Duration, got func(string, float64)) (err error) {
	dir, err := os.MkdirTemp(base, "kvd-bench-growth-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	t := &trial{size: size, time: counted, dir: dir, report: got}
	if t.store, err = bucket.Open(dir, bucket.Options{}); err != nil {
		return err
	}
	return errors.Join(d.measure(t), t.store.Close())
}

// render writes the table and the chart of the dimension.
func (d dimension) render(results string) error {
	name := filepath.Join(results, d.name)
	samples, err := report.Load(name + ".json")
	if err != nil {
		return err
	}
	if samples.Rounds() == 0 {
		fmt.Fprintln(os.Stderr, "growth: no samples of", d.name)
		return nil
	}
	err = report.WriteFile(name+".md", func(w io.Writer) error {
		fmt.Fprintf(w, "%s. Each cell is the median of the rounds, with the least and the greatest value.\n\n", d.title)
		if err := samples.Setting(w); err != nil {
			return err
		}
		fmt.Fprintln(w)
		return samples.Values(w)
	})
	if err != nil {
		return err
	}
	return report.WriteFile(name+".svg", func(w io.Writer) error {
		return samples.GrowthChart(w, d.title+": multiples of the first value")
	})
}
