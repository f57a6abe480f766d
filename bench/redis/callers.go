//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"kvd/client"
)

// call is one synced write through a Go client.
type call func(ctx context.Context, key string) error

// callers starts goroutines that make sequential calls, and returns the number of answered
// calls per second.
func callers(n int, warm, counted time.Duration, put call) (float64, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	keys := make([]string, keySpace)
	for i := range keys {
		keys[i] = fmt.Sprintf("key%0*d", keyDigits, i)
	}
	var answered atomic.Int64
	errs := make([]error, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			for k := i; ctx.Err() == nil; k += n {
				if errs[i] = put(context.Background(), keys[k%keySpace]); errs[i] != nil {
					cancel()
					return
				}
				answered.Add(1)
			}
		})
	}
	sleep(ctx, warm)
	before, begin := answered.Load(), time.Now()
	sleep(ctx, counted)
	count, took := answered.Load()-before, time.Since(begin)
	cancel()
	group.Wait()
	return float64(count) / took.Seconds(), errors.Join(errs...)
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// rueidisPut returns a put through rueidis, whose callers share connections.
func rueidisPut(addr string) (put call, done func(), err error) {
	c, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{addr}, DisableCache: true})
	if err != nil {
		return nil, nil, err
	}
	value := strings.Repeat("x", valueSize)
	put = func(ctx context.Context, key string) error {
		return c.Do(ctx, c.B().Set().Key(key).Value(value).Build()).Error()
	}
	return put, c.Close, nil
}

// kvdPut returns a put through kvd's client.
func kvdPut(addr string) (put call, done func(), err error) {
	ctx := context.Background()
	c, err := client.Dial(ctx, addr, client.Options{})
	if err != nil {
		return nil, nil, err
	}
	done = func() { _ = c.Close() }
	b, err := c.Bucket(ctx, loadBucket)
	if err != nil {
		done()
		return nil, nil, err
	}
	value := []byte(strings.Repeat("x", valueSize))
	put = func(ctx context.Context, key string) error {
		_, err := b.Put(ctx, key, value)
		return err
	}
	return put, done, nil
}
