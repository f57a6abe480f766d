//go:build linux

package workload

import (
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"
	"time"

	"kvd/bench/report"
)

// diskGenerations is how often the disk step writes each key.
const diskGenerations = 20

// disk writes the same keys again and again, and measures the disk space of the store when it
// was left alone for a while, and again after a compaction if the store has one.
func disk() Step {
	return Step{
		Name: "disk",
		Rows: []report.Heading{
			{Name: "disk", Title: "disk after 20 overwrites", Unit: "× live bytes", LowerIsBetter: true},
			{Name: "disk-compacted", Title: "… after a compaction", Unit: "× live bytes", LowerIsBetter: true},
		},
		run: func(j *job) error {
			live := float64(j.DiskKeys * (keySize + valueSize))
			return j.with("disk", func(e Engine) error {
				for generation := range diskGenerations {
					if err := fill(e, j.DiskKeys, generation); err != nil {
						return err
					}
				}
				if err := j.reportDisk("disk", live); err != nil {
					return err
				}
				if c, ok := e.(Compacter); ok {
					if err := c.Compact(); err != nil {
						return err
					}
				}
				// A store without a compaction has the same size as before.
				if err := j.reportDisk("disk-compacted", live); err != nil {
					return err
				}
				return readBack(e, j.DiskKeys, always(diskGenerations-1))
			})
		},
	}
}

// reportDisk waits for a while and reports the disk space.
func (j *job) reportDisk(row string, live float64) error {
	time.Sleep(j.Rest)
	used, err := diskUse(filepath.Join(j.dir, "disk"))
	if err == nil {
		j.report(row, float64(used)/live)
	}
	return err
}

// diskUse returns the disk space of a directory in bytes. Files may be removed meanwhile.
func diskUse(dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			var info fs.FileInfo
			if info, err = d.Info(); err == nil {
				n += info.Sys().(*syscall.Stat_t).Blocks * 512
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return n, err
}
