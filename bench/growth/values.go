//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"

	"kvd/bench/report"
	"kvd/kv"
)

const (
	valueKeys     = 16 // that are overwritten
	valueMostSize = 8 << 20
)

// values is the size of a value.
var values = dimension{
	name: "values", title: "Size of a value", unit: "B",
	sizes: []int{128, 1 << 10, 4 << 10, 64 << 10, 1 << 20, valueMostSize},
	columns: []report.Heading{
		{Name: "put-1", Title: "put, 1 writer", Unit: "MB/s"},
		{Name: "put-16", Title: "put, 16 writers", Unit: "MB/s"},
		{Name: "p99", Title: "p99 of 16 writers", Unit: "ms", LowerIsBetter: true},
		{Name: "get", Title: "get, 1 reader", Unit: "MB/s"},
	},
	measure: func(t *trial) error {
		b, err := t.bucket(kv.Config{Bucket: "b", MaxValueSize: valueMostSize})
		if err != nil {
			return err
		}
		value := make([]byte, t.size)
		for r, i := rand.New(rand.NewPCG(1, 2)), 0; i < len(value); i++ {
			value[i] = byte(r.Uint32())
		}
		megabytes := float64(t.size) / 1e6
		put := func(n int) error {
			_, err := b.Put(context.Background(), key(n%valueKeys, 16), value)
			return err
		}
		one, err := t.puts(1, put)
		if err != nil {
			return err
		}
		t.report("put-1", one.PerSecond*megabytes)
		many, err := t.puts(16, put)
		if err != nil {
			return err
		}
		t.report("put-16", many.PerSecond*megabytes)
		t.report("p99", many.Percentile(0.99))
		read, err := t.puts(1, func(n int) error {
			e, err := b.Get(context.Background(), key(n%min(valueKeys, one.Called), 16))
			if err == nil && !bytes.Equal(e.Value, value) {
				err = fmt.Errorf("key %d reads another value of %d bytes", n%valueKeys, len(e.Value))
			}
			return err
		})
		t.report("get", read.PerSecond*megabytes)
		return err
	},
}
