//go:build linux

package main

import (
	"context"
	"errors"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"kvd/bench/workload"
)

var etcdPeer = workload.Peer{Name: "etcd", Kind: workload.Server, Version: installed("etcd"), Open: openEtcd}

// etcdEngine is a cluster of one etcd.
type etcdEngine struct {
	*process
	client *clientv3.Client
}

func openEtcd(dir string) (workload.Engine, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	peerPort, err := freePort()
	if err != nil {
		return nil, err
	}
	url, peerURL := "http://127.0.0.1:"+port, "http://127.0.0.1:"+peerPort
	p, err := start(answers("127.0.0.1:"+port), "etcd", "--data-dir", dir, "--log-level", "error",
		"--listen-client-urls", url, "--advertise-client-urls", url,
		"--listen-peer-urls", peerURL, "--initial-advertise-peer-urls", peerURL, "--initial-cluster", "default="+peerURL)
	if err != nil {
		return nil, err
	}
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{url}, Logger: zap.NewNop()})
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return etcdEngine{p, c}, nil
}

func (e etcdEngine) Put(key string, value []byte) error {
	_, err := e.client.Put(context.Background(), key, string(value))
	return err
}

// PutAll uses transactions of as many puts as etcd takes by default, all at once.
func (e etcdEngine) PutAll(keys []string, values [][]byte) error {
	const most = 128
	var all errgroup.Group
	i := 0
	for chunk := range slices.Chunk(keys, most) {
		puts := make([]clientv3.Op, len(chunk))
		for j, key := range chunk {
			puts[j] = clientv3.OpPut(key, string(values[i+j]))
		}
		i += len(chunk)
		all.Go(func() error {
			_, err := e.client.Txn(context.Background()).Then(puts...).Commit()
			return err
		})
	}
	return all.Wait()
}

func (e etcdEngine) Get(key string) ([]byte, error) {
	r, err := e.client.Get(context.Background(), key)
	if err != nil || len(r.Kvs) == 0 {
		return nil, err
	}
	return r.Kvs[0].Value, nil
}

// Keys lists pages of one revision.
func (e etcdEngine) Keys(fn func(key []byte)) error {
	const page = 10_000
	from, options := "\x00", []clientv3.OpOption{clientv3.WithFromKey(), clientv3.WithKeysOnly(), clientv3.WithLimit(page)}
	for {
		r, err := e.client.Get(context.Background(), from, options...)
		if err != nil {
			return err
		}
		for _, kv := range r.Kvs {
			fn(kv.Key)
		}
		if !r.More {
			return nil
		}
		from = string(r.Kvs[len(r.Kvs)-1].Key) + "\x00"
		options = append(options[:3:3], clientv3.WithRev(r.Header.Revision))
	}
}

// Compact removes the revisions before the newest one, and then the space that they took.
func (e etcdEngine) Compact() error {
	ctx := context.Background()
	r, err := e.client.Get(ctx, "\x00")
	if err != nil {
		return err
	}
	if _, err := e.client.Compact(ctx, r.Header.Revision, clientv3.WithCompactPhysical()); err != nil {
		return err
	}
	_, err = e.client.Defragment(ctx, e.client.Endpoints()[0])
	return err
}

func (e etcdEngine) Close() error { return errors.Join(e.client.Close(), e.stop()) }
