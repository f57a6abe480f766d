//go:build linux

package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kvd/bench/workload"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) > 0 && args[0] == workload.StepVerb {
		return workload.Main(peers(), args[1:])
	}
	rendering := len(args) > 0 && args[0] == "render"
	if rendering {
		args = args[1:]
	}
	f := flag.NewFlagSet("peers", flag.ContinueOnError)
	m := measurement{}
	f.StringVar((*string)(&m.Kind), "kind", string(workload.Embedded), "embedded or server")
	f.IntVar(&m.Keys, "keys", 1_000_000, "keys of the store that is read, listed and opened")
	f.IntVar(&m.DiskKeys, "disk-keys", 100_000, "keys that are overwritten to measure disk space")
	f.DurationVar(&m.Time, "time", time.Second, "how long puts and gets count")
	f.DurationVar(&m.Rest, "rest", 10*time.Second, "how long a store is left alone before its disk space is measured")
	f.IntVar(&m.rounds, "rounds", 5, "rounds")
	f.StringVar(&m.dir, "dir", os.TempDir(), "where the stores are made; not a tmpfs")
	results := f.String("results", "results", "directory of the samples, to which the rounds are added, and of tables and charts")
	steps := f.String("steps", "", "only steps that begin with one of these words, after a comma each, and the steps that they need")
	only := f.String("peers", "", "only these peers, after a comma each")
	if err := f.Parse(args); err != nil {
		return err
	}
	if rendering {
		return render(*results)
	}
	m.file = filepath.Join(*results, string(m.Kind)+".json")
	m.steps, m.only = words(*steps), words(*only)
	return m.run()
}

func words(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
}
