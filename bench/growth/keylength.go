//go:build linux

package main

import (
	"context"

	"kvd/bench/report"
	"kvd/bench/workload"
	"kvd/kv"
)

// lengthKeys is the number of keys that are read and listed.
const lengthKeys = 100_000

// keyLength is the length of a key.
var keyLength = dimension{
	name: "keylength", title: "Length of each of 100,000 keys", unit: "B",
	sizes: []int{8, 16, 64, 256, 1000},
	columns: []report.Heading{
		{Name: "put", Title: "put of new keys, 64 writers", Unit: "/s"},
		{Name: "get", Title: "get, 1 reader", Unit: "/s"},
		{Name: "list", Title: "list", Unit: "keys/s"},
		{Name: "heap", Title: "memory above the key's bytes", Unit: "B a key"},
	},
	measure: func(t *trial) error {
		before := memory()
		b, err := t.bucket(kv.Config{Bucket: "b"})
		if err != nil {
			return err
		}
		if err := t.fill("b", lengthKeys, t.size); err != nil {
			return err
		}
		listed, err := t.list(b, lengthKeys)
		if err != nil {
			return err
		}
		t.report("list", listed)
		t.report("heap", (memory()-before)/lengthKeys-float64(t.size))
		read, err := t.gets(b, lengthKeys, t.size)
		if err != nil {
			return err
		}
		t.report("get", read)
		c, err := t.puts(writers, func(n int) error {
			_, err := b.Put(context.Background(), key(lengthKeys+n, t.size), workload.Value(n, 0))
			return err
		})
		t.report("put", c.PerSecond)
		return err
	},
}
