//go:build linux

package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "growth:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	f := flag.NewFlagSet("growth", flag.ContinueOnError)
	results := f.String("results", "bench/growth/results", "directory of the samples, tables and charts")
	dir := f.String("dir", os.TempDir(), "where the stores are made; not a tmpfs")
	rounds := f.Int("rounds", 3, "rounds")
	counted := f.Duration("time", time.Second, "how long puts and gets count")
	only := f.String("only", "", "only these dimensions, with a comma between them")
	most := f.Int("most", 1<<30, "leave larger sizes out")
	rendering := len(args) > 0 && args[0] == "render"
	if rendering {
		args = args[1:]
	}
	if err := f.Parse(args); err != nil {
		return err
	}
	for _, d := range dimensions {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), d.name) {
			continue
		}
		if rendering {
			if err := d.render(*results); err != nil {
				return err
			}
			continue
		}
		for range *rounds {
			if err := d.round(*results, *dir, *most, *counted); err != nil {
				return fmt.Errorf("%s: %w", d.name, err)
			}
		}
	}
	return nil
}
