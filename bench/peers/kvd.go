//go:build linux

package main

import (
	"context"
	"errors"

	"kvd/bench/workload"
	"kvd/bucket"
	"kvd/kv"
)

var kvdPeer = workload.Peer{Name: "kvd", Kind: workload.Embedded, Version: thisTree, Open: openKVD}

// thisTree is the version of kvd.
func thisTree() (string, error) { return "of this tree", nil }

type kvdEngine struct {
	store  *bucket.Store
	bucket kv.Bucket
}

func openKVD(dir string) (workload.Engine, error) {
	s, err := bucket.Open(dir, bucket.Options{})
	if err != nil {
		return nil, err
	}
	b, err := s.CreateOrUpdateBucket(context.Background(), kv.Config{Bucket: bucketName})
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return kvdEngine{s, b}, nil
}

// bucketName is the name of the one bucket, in stores that have buckets.
const bucketName = "b"

func (e kvdEngine) Put(key string, value []byte) error {
	_, err := e.bucket.Put(context.Background(), key, value)
	return err
}

func (e kvdEngine) PutAll(keys []string, values [][]byte) error { return submit(e.store, keys, values) }

func (e kvdEngine) Get(key string) ([]byte, error) { return getKV(e.bucket, key) }

func (e kvdEngine) Keys(fn func(key []byte)) error { return keysKV(e.bucket, fn) }

func (e kvdEngine) Compact() error {
	_, err := e.store.Reclaim(context.Background(), nil)
	return err
}

func (e kvdEngine) Close() error { return e.store.Close() }

func submit(s kv.Submitter, keys []string, values [][]byte) error {
	mutations := make([]kv.Mutation, len(keys))
	for i, key := range keys {
		mutations[i] = kv.Mutation{Bucket: bucketName, Op: kv.MutatePut, Key: key, Value: values[i]}
	}
	if err := s.Submit(context.Background(), mutations); err != nil {
		return err
	}
	for i := range mutations {
		if err := mutations[i].Err; err != nil {
			return err
		}
	}
	return nil
}

func getKV(b kv.Bucket, key string) ([]byte, error) {
	entry, err := b.Get(context.Background(), key)
	if errors.Is(err, kv.ErrKeyNotFound) {
		return nil, nil
	}
	return entry.Value, err
}

func keysKV(b kv.Bucket, fn func(key []byte)) error {
	var buffer []byte
	for key, err := range b.Keys(context.Background()) {
		if err != nil {
			return err
		}
		buffer = append(buffer[:0], key...)
		fn(buffer)
	}
	return nil
}
