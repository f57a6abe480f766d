//go:build linux

package main

import (
	"context"

	"kvd/bench/report"
	"kvd/bench/workload"
	"kvd/kv"
)

// keys is the number of keys of a bucket.
var keys = dimension{
	name: "keys", title: "Keys of a bucket",
	sizes: []int{1_000, 10_000, 100_000, 1_000_000, 3_000_000},
	columns: []report.Heading{
		{Name: "get", Title: "get, 1 reader", Unit: "/s"},
		{Name: "put", Title: "overwrite, 64 writers", Unit: "/s"},
		{Name: "list", Title: "list", Unit: "keys/s"},
		{Name: "open", Title: "open", Unit: "ms", LowerIsBetter: true},
		{Name: "heap", Title: "memory", Unit: "B a key"},
	},
	measure: func(t *trial) error {
		before := memory()
		if _, err := t.bucket(kv.Config{Bucket: "b"}); err != nil {
			return err
		}
		if err := t.fill("b", t.size, 16); err != nil {
			return err
		}
		took, err := t.reopen()
		if err != nil {
			return err
		}
		t.report("open", took.Seconds()*1e3)
		b, err := t.bucket(kv.Config{Bucket: "b"})
		if err != nil {
			return err
		}
		listed, err := t.list(b, t.size)
		if err != nil {
			return err
		}
		t.report("list", listed)
		t.report("heap", (memory()-before)/float64(t.size))
		read, err := t.gets(b, t.size, 16)
		if err != nil {
			return err
		}
		t.report("get", read)
		c, err := t.puts(writers, func(n int) error {
			_, err := b.Put(context.Background(), key(n%t.size, 16), workload.Value(n, 1))
			return err
		})
		t.report("put", c.PerSecond)
		return err
	},
}
