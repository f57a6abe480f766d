//go:build linux

package workload

import (
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"kvd/bench/report"
)

// openClean opens the loaded store after a clean close.
func openClean(s Setting) Step {
	return Step{
		Name: "open", After: loading,
		Rows: []report.Heading{{Name: "open", Title: s.of("open %s keys, cold, after a close"), Unit: "ms", LowerIsBetter: true}},
		run:  func(j *job) error { return j.open("open", always(0)) },
	}
}

// dieAfterPuts overwrites keys of the loaded store from 0 on, and writes into a file how many
// puts were acknowledged. Then it waits to be killed.
func dieAfterPuts() Step {
	return Step{
		Name: "die", After: loading,
		Killed: true,
		run: func(j *job) error {
			e, err := j.peer.Open(filepath.Join(j.dir, loaded))
			if err != nil {
				return err
			}
			c := &Crowd{Callers: 64, Time: j.Time}
			err = c.Run(func(_, n int) error {
				if n >= j.Keys {
					return nil
				}
				return e.Put(Key(n), Value(n, 1))
			})
			if err != nil {
				return err
			}
			acknowledged := min(c.Called, j.Keys)
			return os.WriteFile(filepath.Join(j.dir, "acknowledged"), []byte(strconv.Itoa(acknowledged)), 0o600)
		},
	}
}

// openKilled opens the loaded store after kill -9. Every write that was acknowledged is there.
func openKilled(s Setting) Step {
	return Step{
		Name: "open-killed", After: "die",
		Rows: []report.Heading{{Name: "open-killed", Title: s.of("open %s keys, cold, after kill -9"), Unit: "ms", LowerIsBetter: true}},
		run: func(j *job) error {
			text, err := os.ReadFile(filepath.Join(j.dir, "acknowledged"))
			if err != nil {
				return err
			}
			acknowledged, err := strconv.Atoi(string(text))
			if err != nil {
				return err
			}
			return j.open("open-killed", func(n int) int {
				if n < acknowledged {
					return 1
				}
				return 0
			})
		},
	}
}

// open measures the time until a store whose files are not in the page cache has answered a
// read.
func (j *job) open(row string, generation func(int) int) error {
	if err := EvictCache(filepath.Join(j.dir, loaded)); err != nil {
		return err
	}
	start := time.Now()
	return j.with(loaded, func(e Engine) error {
		got, err := e.Get(Key(0))
		took := time.Since(start)
		if err != nil {
			return err
		}
		if err := check(got, 0, generation(0)); err != nil {
			return err
		}
		j.report(row, took.Seconds()*1e3)
		return readBack(e, j.Keys, generation)
	})
}

// EvictCache syncs the files below a directory, and removes them from the page cache.
func EvictCache(dir string) error {
	return filepath.WalkDir(dir, func(name string, entry os.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := f.Sync(); err != nil {
			return err
		}
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
}
