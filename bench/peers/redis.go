//go:build linux

package main

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"kvd/bench/workload"
)

var redisPeer = workload.Peer{Name: "redis", Kind: workload.Server, Version: installed("redis-server"), Open: openRedis}

// redisEngine is Redis that syncs its append-only file before it answers, and rueidis.
type redisEngine struct {
	*process
	client rueidis.Client
}

func openRedis(dir string) (workload.Engine, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	var e redisEngine
	ready := func() (err error) {
		if e.client == nil {
			e.client, err = rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{"127.0.0.1:" + port}, DisableCache: true})
			if err != nil {
				e.client = nil
				return err
			}
		}
		return e.do("PING").Error() // an error while it loads its file
	}
	e.process, err = start(ready, "redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", dir,
		"--save", "", "--appendonly", "yes", "--appendfsync", "always")
	return e, err
}

func (e redisEngine) do(words ...string) rueidis.RedisResult {
	return e.client.Do(context.Background(), e.client.B().Arbitrary(words...).Build())
}

func (e redisEngine) Put(key string, value []byte) error {
	c := e.client
	return c.Do(context.Background(), c.B().Set().Key(key).Value(rueidis.BinaryString(value)).Build()).Error()
}

func (e redisEngine) PutAll(keys []string, values [][]byte) error {
	commands := make(rueidis.Commands, len(keys))
	for i, key := range keys {
		commands[i] = e.client.B().Set().Key(key).Value(rueidis.BinaryString(values[i])).Build()
	}
	for _, r := range e.client.DoMulti(context.Background(), commands...) {
		if err := r.Error(); err != nil {
			return err
		}
	}
	return nil
}

func (e redisEngine) Get(key string) ([]byte, error) {
	value, err := e.client.Do(context.Background(), e.client.B().Get().Key(key).Build()).AsBytes()
	if rueidis.IsRedisNil(err) {
		return nil, nil
	}
	return value, err
}

func (e redisEngine) Keys(fn func(key []byte)) error {
	for cursor := uint64(0); ; {
		page, err := e.client.Do(context.Background(), e.client.B().Scan().Cursor(cursor).Count(1000).Build()).AsScanEntry()
		if err != nil {
			return err
		}
		for _, key := range page.Elements {
			fn([]byte(key))
		}
		if cursor = page.Cursor; cursor == 0 {
			return nil
		}
	}
}

// Compact has Redis rewrite its append-only file, and waits for it.
func (e redisEngine) Compact() error {
	if err := e.do("BGREWRITEAOF").Error(); err != nil {
		return err
	}
	for {
		info, err := e.do("INFO", "persistence").ToString()
		if err != nil {
			return err
		}
		if strings.Contains(info, "aof_rewrite_in_progress:0") && strings.Contains(info, "aof_rewrite_scheduled:0") {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (e redisEngine) Close() error {
	e.client.Close()
	return e.stop()
}
