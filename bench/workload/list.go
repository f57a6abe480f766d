//go:build linux

package workload

import (
	"fmt"
	"time"

	"kvd/bench/report"
)

// list lists all keys of the loaded store: once to warm up, and three times that count.
func list(s Setting) Step {
	return Step{
		Name: "list", After: loading,
		Rows: []report.Heading{{Name: "list", Title: s.of("list %s keys"), Unit: "keys/s"}},
		run: func(j *job) error {
			return j.with(loaded, func(e Engine) error {
				if err := listOnce(e, j.Keys); err != nil {
					return err
				}
				const times = 3
				start := time.Now()
				for range times {
					if err := listOnce(e, j.Keys); err != nil {
						return err
					}
				}
				j.report("list", times*float64(j.Keys)/time.Since(start).Seconds())
				return nil
			})
		},
	}
}

func listOnce(e Engine, want int) error {
	count, size := 0, 0
	if err := e.Keys(func(key []byte) { count, size = count+1, size+len(key) }); err != nil {
		return err
	}
	if count != want || size != want*keySize {
		return fmt.Errorf("%d keys of %d bytes are listed, want %d of %d", count, size, want, want*keySize)
	}
	return nil
}
