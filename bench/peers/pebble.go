//go:build linux

package main

import (
	"context"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"kvd/bench/workload"
)

var pebblePeer = workload.Peer{Name: "pebble", Kind: workload.Embedded, Version: module("github.com/cockroachdb/pebble/v2"), Open: openPebble}

type pebbleEngine struct{ db *pebble.DB }

func openPebble(dir string) (workload.Engine, error) {
	db, err := pebble.Open(dir, &pebble.Options{Logger: silence{}})
	return pebbleEngine{db}, err
}

func (e pebbleEngine) Put(key string, value []byte) error {
	return e.db.Set([]byte(key), value, pebble.Sync)
}

func (e pebbleEngine) PutAll(keys []string, values [][]byte) error {
	batch := e.db.NewBatch()
	for i, key := range keys {
		if err := batch.Set([]byte(key), values[i], nil); err != nil {
			return err
		}
	}
	return errors.Join(batch.Commit(pebble.Sync), batch.Close())
}

func (e pebbleEngine) Get(key string) ([]byte, error) {
	value, closer, err := e.db.Get([]byte(key))
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	own := append([]byte(nil), value...)
	return own, closer.Close()
}

func (e pebbleEngine) Keys(fn func(key []byte)) error {
	iter, err := e.db.NewIter(nil)
	if err != nil {
		return err
	}
	for ok := iter.First(); ok; ok = iter.Next() {
		fn(iter.Key())
	}
	return errors.Join(iter.Error(), iter.Close())
}

func (e pebbleEngine) Compact() error {
	return e.db.Compact(context.Background(), []byte{0}, []byte{0xff}, true)
}

func (e pebbleEngine) Close() error { return e.db.Close() }

// silence suppresses Pebble's log messages.
type silence struct{}

func (silence) Infof(string, ...any)           {}
func (silence) Errorf(string, ...any)          {}
func (silence) Fatalf(format string, _ ...any) { panic(format) }
