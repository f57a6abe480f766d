//go:build linux

package main

import (
	"errors"

	"github.com/nutsdb/nutsdb"

	"kvd/bench/workload"
)

var nutsdbPeer = workload.Peer{Name: "nutsdb", Kind: workload.Embedded, Version: module("github.com/nutsdb/nutsdb"), Open: openNutsDB}

// nutsdbEngine is nutsdb with its default of a sync for every commit.
type nutsdbEngine struct{ db *nutsdb.DB }

func openNutsDB(dir string) (workload.Engine, error) {
	db, err := nutsdb.Open(nutsdb.DefaultOptions, nutsdb.WithDir(dir))
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *nutsdb.Tx) error {
		if tx.ExistBucket(nutsdb.DataStructureBTree, bucketName) {
			return nil
		}
		return tx.NewBucket(nutsdb.DataStructureBTree, bucketName)
	})
	return nutsdbEngine{db}, err
}

func (e nutsdbEngine) Put(key string, value []byte) error {
	return e.db.Update(func(tx *nutsdb.Tx) error { return tx.Put(bucketName, []byte(key), value, nutsdb.Persistent) })
}

func (e nutsdbEngine) PutAll(keys []string, values [][]byte) error {
	return e.db.Update(func(tx *nutsdb.Tx) error {
		for i, key := range keys {
			if err := tx.Put(bucketName, []byte(key), values[i], nutsdb.Persistent); err != nil {
				return err
			}
		}
		return nil
	})
}

func (e nutsdbEngine) Get(key string) (value []byte, err error) {
	err = e.db.View(func(tx *nutsdb.Tx) error {
		found, err := tx.Get(bucketName, []byte(key))
		if nutsdb.IsKeyNotFound(err) {
			return nil
		}
		value = append(value, found...)
		return err
	})
	return value, err
}

func (e nutsdbEngine) Keys(fn func(key []byte)) error {
	return e.db.View(func(tx *nutsdb.Tx) error {
		iter := nutsdb.NewIterator(tx, bucketName, nutsdb.IteratorOptions{})
		for ok := iter.Rewind(); ok; ok = iter.Next() {
			fn(iter.Key())
		}
		return nil
	})
}

// Compact merges the files. One file alone is not merged.
func (e nutsdbEngine) Compact() error {
	if err := e.db.Merge(); !errors.Is(err, nutsdb.ErrDontNeedMerge) {
		return err
	}
	return nil
}

func (e nutsdbEngine) Close() error { return e.db.Close() }
