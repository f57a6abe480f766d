//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"

	"kvd/bench/report"
	"kvd/bench/workload"
	"kvd/kv"
)

// historyKeys is the number of keys, each of which has its full history.
const historyKeys = 10_000

// history is the number of revisions that a bucket keeps of a key.
var history = dimension{
	name: "history", title: "Kept revisions of each of 10,000 keys",
	sizes: []int{1, 4, 16, 64},
	columns: []report.Heading{
		{Name: "put", Title: "put, 64 writers", Unit: "/s"},
		{Name: "get", Title: "get, 1 reader", Unit: "/s"},
		{Name: "history", Title: "History", Unit: "revisions/s"},
		{Name: "heap", Title: "memory", Unit: "B a revision"},
	},
	measure: func(t *trial) error {
		before := memory()
		b, err := t.bucket(kv.Config{Bucket: "b", History: t.size})
		if err != nil {
			return err
		}
		for range t.size {
			if err := t.fill("b", historyKeys, 16); err != nil {
				return err
			}
		}
		t.report("heap", (memory()-before)/float64(historyKeys*t.size))
		read, err := t.gets(b, historyKeys, 16)
		if err != nil {
			return err
		}
		t.report("get", read)
		h, err := t.puts(1, func(n int) error { return t.readHistory(b, n%historyKeys) })
		if err != nil {
			return err
		}
		t.report("history", h.PerSecond*float64(t.size))
		c, err := t.puts(writers, func(n int) error {
			_, err := b.Put(context.Background(), key(n%historyKeys, 16), workload.Value(n, 1))
			return err
		})
		t.report("put", c.PerSecond)
		return err
	},
}

// readHistory reads the full history of a key.
func (t *trial) readHistory(b kv.Bucket, n int) error {
	revisions := 0
	for e, err := range b.History(context.Background(), key(n, 16)) {
		if err != nil {
			return err
		}
		if want := workload.Value(n, 0); !bytes.Equal(e.Value, want) {
			return fmt.Errorf("key %d reads %x, want %x", n, e.Value, want)
		}
		revisions++
	}
	if revisions != t.size {
		return fmt.Errorf("key %d has %d revisions, want %d", n, revisions, t.size)
	}
	return nil
}
