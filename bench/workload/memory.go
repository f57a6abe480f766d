//go:build linux

package workload

import (
	"bytes"
	"fmt"
	"os"
	"runtime/debug"

	"kvd/bench/report"
)

// memory is what a key of the loaded store takes, its own bytes included, once the store was
// opened, read and listed: anonymous resident memory above that of an empty store. Mapped
// files do not count: the system takes their pages back when it needs them.
func memory(s Setting) Step {
	return Step{
		Name: "memory", After: loading,
		Rows: []report.Heading{{Name: "memory", Title: s.of("memory for each of %s keys"), Unit: "B", LowerIsBetter: true}},
		run: func(j *job) error {
			var empty, full int64
			err := j.with("empty", func(e Engine) (err error) {
				empty, err = anonymous(e)
				return err
			})
			if err != nil {
				return err
			}
			err = j.with(loaded, func(e Engine) (err error) {
				if err := readBack(e, j.Keys, always(0)); err != nil {
					return err
				}
				if err := listOnce(e, j.Keys); err != nil {
					return err
				}
				full, err = anonymous(e)
				return err
			})
			if err != nil {
				return err
			}
			// A ratio needs a value above zero.
			j.report("memory", max(1, float64(full-empty)/float64(j.Keys)))
			return nil
		},
	}
}

// anonymous returns the anonymous resident bytes of the store's process. If it is this
// process, garbage is collected first.
func anonymous(e Engine) (n int64, err error) {
	pid := os.Getpid()
	if p, ok := e.(Process); ok {
		pid = p.PID()
	} else {
		debug.FreeOSMemory()
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := bytes.Cut(status, []byte("RssAnon:"))
	if _, err := fmt.Sscanf(string(rest), "%d kB", &n); err != nil {
		return 0, fmt.Errorf("RssAnon of process %d: %w", pid, err)
	}
	return n << 10, nil
}
