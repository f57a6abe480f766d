//go:build linux

package main

import (
	"os"
	"path/filepath"
	"sync/atomic"

	"go.etcd.io/bbolt"

	"kvd/bench/workload"
)

var bboltPeer = workload.Peer{Name: "bbolt", Kind: workload.Embedded, Version: module("go.etcd.io/bbolt"), Open: openBbolt}

type bboltEngine struct {
	db      *bbolt.DB
	putting *atomic.Int64 // number of concurrent calls of Put
}

var bboltBucket = []byte(bucketName)

func openBbolt(dir string) (workload.Engine, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	db, err := bbolt.Open(filepath.Join(dir, "bolt"), 0o600, nil)
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bboltBucket)
		return err
	})
	return bboltEngine{db, new(atomic.Int64)}, err
}

// Put uses Batch, which waits up to 10 ms for other callers. A single caller uses Update.
func (e bboltEngine) Put(key string, value []byte) error {
	defer e.putting.Add(-1)
	commit := e.db.Batch
	if e.putting.Add(1) == 1 {
		commit = e.db.Update
	}
	return commit(func(tx *bbolt.Tx) error { return tx.Bucket(bboltBucket).Put([]byte(key), value) })
}

func (e bboltEngine) PutAll(keys []string, values [][]byte) error {
	return e.db.Update(func(tx *bbolt.Tx) error {
		for i, key := range keys {
			if err := tx.Bucket(bboltBucket).Put([]byte(key), values[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (e bboltEngine) Get(key string) (value []byte, err error) {
	err = e.db.View(func(tx *bbolt.Tx) error {
		value = append(value, tx.Bucket(bboltBucket).Get([]byte(key))...)
		return nil
	})
	return value, err
}

func (e bboltEngine) Keys(fn func(key []byte)) error {
	return e.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bboltBucket).ForEach(func(key, _ []byte) error {
			fn(key)
			return nil
		})
	})
}

func (e bboltEngine) Close() error { return e.db.Close() }
