//go:build linux

package main

import (
	"context"
	"fmt"
	"time"

	"kvd/bench/report"
	"kvd/bench/workload"
	"kvd/kv"
)

// buckets is the number of buckets that are written at once.
var buckets = dimension{
	name: "buckets", title: "Buckets that are written at once",
	sizes: []int{1, 10, 100, 1_000, 10_000},
	columns: []report.Heading{
		{Name: "put", Title: "put, 64 writers", Unit: "/s"},
		{Name: "p99", Title: "its p99", Unit: "ms", LowerIsBetter: true},
		{Name: "create", Title: "make a bucket", Unit: "ms", LowerIsBetter: true},
		{Name: "open", Title: "open", Unit: "ms", LowerIsBetter: true},
	},
	measure: func(t *trial) error {
		all := make([]kv.Bucket, t.size)
		get := func() (err error) {
			for i := range all {
				if all[i], err = t.bucket(kv.Config{Bucket: fmt.Sprintf("b%d", i)}); err != nil {
					return err
				}
			}
			return nil
		}
		start := time.Now()
		if err := get(); err != nil {
			return err
		}
		t.report("create", time.Since(start).Seconds()*1e3/float64(t.size))
		c, err := t.puts(writers, func(n int) error {
			_, err := all[n%t.size].Put(context.Background(), key(n, 16), workload.Value(n, 0))
			return err
		})
		if err != nil {
			return err
		}
		t.report("put", c.PerSecond)
		t.report("p99", c.Percentile(0.99))
		took, err := t.reopen()
		if err != nil {
			return err
		}
		t.report("open", took.Seconds()*1e3)
		if err := get(); err != nil {
			return err
		}
		return t.sum(all, c.Called)
	},
}

// sum compares the number of all keys of some buckets.
func (t *trial) sum(all []kv.Bucket, want int) error {
	n := 0
	for _, b := range all {
		for _, err := range b.Keys(context.Background()) {
			if err != nil {
				return err
			}
			n++
		}
	}
	if n != want {
		return fmt.Errorf("%d keys are listed, want %d", n, want)
	}
	return nil
}
