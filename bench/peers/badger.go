//go:build linux

package main

import (
	"errors"

	"github.com/dgraph-io/badger/v4"

	"kvd/bench/workload"
)

var badgerPeer = workload.Peer{Name: "badger", Kind: workload.Embedded, Version: module("github.com/dgraph-io/badger/v4"), Open: openBadger}

type badgerEngine struct{ db *badger.DB }

func openBadger(dir string) (workload.Engine, error) {
	db, err := badger.Open(badger.DefaultOptions(dir).WithSyncWrites(true).WithLogger(nil))
	return badgerEngine{db}, err
}

func (e badgerEngine) Put(key string, value []byte) error {
	return e.db.Update(func(tx *badger.Txn) error { return tx.Set([]byte(key), value) })
}

func (e badgerEngine) PutAll(keys []string, values [][]byte) error {
	batch := e.db.NewWriteBatch()
	defer batch.Cancel()
	for i, key := range keys {
		if err := batch.Set([]byte(key), values[i]); err != nil {
			return err
		}
	}
	return batch.Flush()
}

func (e badgerEngine) Get(key string) (value []byte, err error) {
	err = e.db.View(func(tx *badger.Txn) error {
		item, err := tx.Get([]byte(key))
		if errors.Is(err, badger.ErrKeyNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		value, err = item.ValueCopy(nil)
		return err
	})
	return value, err
}

func (e badgerEngine) Keys(fn func(key []byte)) error {
	return e.db.View(func(tx *badger.Txn) error {
		iter := tx.NewIterator(badger.IteratorOptions{})
		defer iter.Close()
		for iter.Rewind(); iter.Valid(); iter.Next() {
			fn(iter.Item().Key())
		}
		return nil
	})
}

func (e badgerEngine) Compact() error {
	if err := e.db.Flatten(1); err != nil {
		return err
	}
	for {
		switch err := e.db.RunValueLogGC(0.5); {
		case errors.Is(err, badger.ErrNoRewrite):
			return nil
		case err != nil:
			return err
		}
	}
}

func (e badgerEngine) Close() error { return e.db.Close() }
