//go:build linux

package main

import (
	"context"
	"errors"

	"kvd/bench/workload"
	"kvd/client"
	"kvd/kv"
)

var kvdLinePeer = workload.Peer{Name: "kvd", Kind: workload.Server, Version: thisTree, Open: openKVDLine}

// kvdLineEngine is kvd's server and its client of the line protocol.
type kvdLineEngine struct {
	*process
	client *client.Client
	bucket kv.Bucket
}

// startKVD starts kvd's server with a front end on a port that the flag names.
func startKVD(dir, flag, port string) (*process, error) {
	args := []string{"serve", "--data", dir, "--listen", "", "--nats", "", "--admin", "", flag, "127.0.0.1:" + port}
	return start(answers("127.0.0.1:"+port), "kvd", args...)
}

func openKVDLine(dir string) (workload.Engine, error) {
	ctx := context.Background()
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	p, err := startKVD(dir, "--listen", port)
	if err != nil {
		return nil, err
	}
	c, err := client.Dial(ctx, "127.0.0.1:"+port, client.Options{})
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	b, err := c.CreateOrUpdateBucket(ctx, kv.Config{Bucket: bucketName})
	if err != nil {
		return nil, errors.Join(err, c.Close(), p.stop())
	}
	return kvdLineEngine{p, c, b}, nil
}

func (e kvdLineEngine) Put(key string, value []byte) error {
	_, err := e.bucket.Put(context.Background(), key, value)
	return err
}

func (e kvdLineEngine) PutAll(keys []string, values [][]byte) error {
	return submit(e.client, keys, values)
}

func (e kvdLineEngine) Get(key string) ([]byte, error) { return getKV(e.bucket, key) }

func (e kvdLineEngine) Keys(fn func(key []byte)) error { return keysKV(e.bucket, fn) }

func (e kvdLineEngine) Compact() error {
	_, err := e.client.Reclaim(context.Background(), nil)
	return err
}

func (e kvdLineEngine) Close() error { return errors.Join(e.client.Close(), e.stop()) }
