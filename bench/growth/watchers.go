//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"kvd/bench/report"
	"kvd/bench/workload"
	"kvd/kv"
)

// watchers is the number of watchers beside the writers.
var watchers = dimension{
	name: "watchers", title: "Watchers",
	sizes: []int{1, 10, 100, 1_000},
	columns: []report.Heading{
		{Name: "put-all", Title: "put, 64 writers, every watcher watches the bucket", Unit: "/s"},
		{Name: "events", Title: "events to them", Unit: "/s"},
		{Name: "put-one", Title: "put, 64 writers, every watcher watches a key", Unit: "/s"},
	},
	measure: func(t *trial) error {
		start := time.Now()
		// New keys, so that no event is superseded before a slow watcher has it.
		c, err := t.watched("all", func(int) string { return ">" }, func(n int) string { return key(n, 16) })
		if err != nil {
			return err
		}
		t.report("put-all", c.PerSecond)
		t.report("events", float64(c.Called*t.size)/time.Since(start).Seconds())
		one := func(n int) string { return key(n%t.size, 16) }
		c, err = t.watched("one", one, one)
		if err != nil {
			return err
		}
		t.report("put-one", c.PerSecond)
		return nil
	},
}

// watched has writers put keys while watchers watch, and waits until every watcher has the
// last event of its pattern, which has an empty value. A watcher of the whole bucket must have
// had every put before it.
func (t *trial) watched(name string, pattern, put func(n int) string) (*workload.Crowd, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	b, err := t.bucket(kv.Config{Bucket: name})
	if err != nil {
		return nil, err
	}
	var done sync.WaitGroup
	events, errs := make([]int, t.size), make([]error, t.size)
	for i := range t.size {
		w, err := b.Watch(ctx, []string{pattern(i)}, kv.UpdatesOnly())
		if err != nil {
			return nil, err
		}
		done.Go(func() { events[i], errs[i] = eventsUntilEmpty(w) })
	}
	c, err := t.puts(writers, func(n int) error {
		_, err := b.Put(ctx, put(n), workload.Value(n, 0))
		return err
	})
	if err != nil {
		return nil, err
	}
	for i := range t.size { // an end for every pattern
		if _, err := b.Put(ctx, put(c.Called+i), nil); err != nil {
			return nil, err
		}
	}
	done.Wait()
	for _, n := range events {
		if pattern(0) == ">" && n != c.Called {
			errs = append(errs, fmt.Errorf("a watcher had %d events, want %d", n, c.Called))
		}
	}
	return c, errors.Join(errs...)
}

// eventsUntilEmpty counts the events before the first empty value, and ends the watch.
func eventsUntilEmpty(w kv.Watcher) (n int, err error) {
	defer func() { err = errors.Join(err, w.Stop()) }()
	for update, err := range w.All() {
		if err != nil {
			return n, err
		}
		if len(update.Entry.Value) == 0 {
			return n, nil
		}
		n++
	}
	return n, errors.New("the watch ended before the last event")
}
