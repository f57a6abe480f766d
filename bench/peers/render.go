//go:build linux

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kvd/bench/report"
	"kvd/bench/workload"
)

// comparison is a table of ratios, and the chart of the first one of its kind.
type comparison struct {
	kind   workload.Kind
	title  string
	column string
	others []string
}

var comparisons = []comparison{
	{workload.Embedded, "Embedded: how many times as good as each other store kvd is", "kvd", []string{"raw", "pebble", "bbolt", "badger", "nutsdb", "pogreb", "lmdb"}},
	{workload.Server, "Servers and their Go clients: how many times as good as each other server kvd is", "kvd", []string{"redis", "etcd", "nats"}},
	{workload.Server, "With NATS' Go client: how many times as good as nats-server kvd is", "kvd-nats", []string{"nats"}},
}

// render writes a page and a chart for each kind of peers whose samples a directory has.
func render(dir string) error {
	for _, kind := range []workload.Kind{workload.Embedded, workload.Server} {
		name := filepath.Join(dir, string(kind))
		run, err := report.Load(name + ".json")
		if err != nil {
			return err
		}
		if run.Rounds() == 0 {
			fmt.Fprintln(os.Stderr, "peers: no samples of kind", kind)
			continue
		}
		compared := slices.DeleteFunc(slices.Clone(comparisons), func(c comparison) bool { return c.kind != kind })
		first := compared[0]
		if err := report.WriteFile(name+".md", func(w io.Writer) error { return page(w, run, compared) }); err != nil {
			return err
		}
		err = report.WriteFile(name+".svg", func(w io.Writer) error { return run.RatioChart(w, first.title, first.column, first.others...) })
		if err != nil {
			return err
		}
	}
	return nil
}

func page(w io.Writer, run *report.Run, compared []comparison) error {
	fmt.Fprint(w, "Each cell is the median of the rounds, with the least and the greatest value. "+
		"A ratio tells how many times as good as the other store kvd is; below 1, in bold, kvd is behind.\n\n")
	if err := run.Setting(w); err != nil {
		return err
	}
	var versions []string
	for _, c := range run.Columns {
		versions = append(versions, c.Name+" "+c.Version)
	}
	fmt.Fprintf(w, "Versions: %s.\n", strings.Join(versions, ", "))
	for _, c := range compared {
		fmt.Fprintf(w, "\n## %s\n\n", c.title)
		if err := run.Ratios(w, c.column, c.others...); err != nil {
			return err
		}
	}
	fmt.Fprint(w, "\n## All values\n\n")
	return run.Values(w)
}
