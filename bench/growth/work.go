//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"time"

	"kvd/bench/workload"
	"kvd/bucket"
	"kvd/internal/hugemem"
	"kvd/kv"
)

// writers is the number of closed-loop writers of most puts.
const writers = 64

func (t *trial) bucket(config kv.Config) (kv.Bucket, error) {
	return t.store.CreateOrUpdateBucket(context.Background(), config)
}

// key returns the n-th key in a length from 8 to 1,000 bytes.
func key(n, length int) string {
	k := workload.Key(n)
	return strings.Repeat(k, length/len(k)+1)[:length]
}

// fill puts the keys from 0 to n, in batches.
func (t *trial) fill(name string, n, length int) error {
	const batch = 4096
	mutations := make([]kv.Mutation, 0, batch)
	for i := 0; i < n; {
		mutations = mutations[:0]
		for ; i < n && len(mutations) < batch; i++ {
			mutations = append(mutations, kv.Mutation{Bucket: name, Op: kv.MutatePut, Key: key(i, length), Value: workload.Value(i, 0)})
		}
		if err := t.store.Submit(context.Background(), mutations); err != nil {
			return err
		}
		for i := range mutations {
			if err := mutations[i].Err; err != nil {
				return err
			}
		}
	}
	return nil
}

// puts has writers put for the time of the trial.
func (t *trial) puts(callers int, put func(n int) error) (*workload.Crowd, error) {
	c := &workload.Crowd{Callers: callers, Time: t.time}
	return c, c.Run(func(_, n int) error { return put(n) })
}

// gets has one reader read random keys of the first n, and compares their values.
func (t *trial) gets(b kv.Bucket, n, length int) (perSecond float64, err error) {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	c := &workload.Crowd{Callers: 1, Time: t.time}
	err = c.Run(func(_, _ int) error {
		i := r.IntN(n)
		e, err := b.Get(context.Background(), key(i, length))
		if err != nil {
			return err
		}
		if want := workload.Value(i, 0); !bytes.Equal(e.Value, want) {
			return fmt.Errorf("key %d reads %x, want %x", i, e.Value, want)
		}
		return nil
	})
	return c.PerSecond, err
}

// list lists all keys once to warm up, and then as often as the time of the trial allows.
func (t *trial) list(b kv.Bucket, want int) (perSecond float64, err error) {
	var start time.Time
	times := -1
	for ; times <= 0 || time.Since(start) < t.time; times++ {
		if times == 0 {
			start = time.Now()
		}
		n := 0
		for _, err := range b.Keys(context.Background()) {
			if err != nil {
				return 0, err
			}
			n++
		}
		if n != want {
			return 0, fmt.Errorf("%d keys are listed, want %d", n, want)
		}
	}
	return float64(times) * float64(want) / time.Since(start).Seconds(), nil
}

// reopen closes the store and opens it again, and returns how long the opening took.
func (t *trial) reopen() (took time.Duration, err error) {
	if err := t.store.Close(); err != nil {
		return 0, err
	}
	start := time.Now()
	again, err := bucket.Open(t.dir, bucket.Options{})
	if err != nil {
		return 0, err
	}
	t.store = again
	return time.Since(start), nil
}

// memory returns the bytes that are in use after a garbage collection, in Go's heap and outside.
func memory() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(int64(m.HeapAlloc) + hugemem.InUse())
}
