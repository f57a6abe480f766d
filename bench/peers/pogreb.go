//go:build linux

package main

import (
	"errors"
	"log"

	"github.com/akrylysov/pogreb"

	"kvd/bench/workload"
)

var pogrebPeer = workload.Peer{Name: "pogreb", Kind: workload.Embedded, Version: module("github.com/akrylysov/pogreb"), Open: openPogreb}

// pogrebEngine syncs after every put, as pogreb itself does with a negative interval.
type pogrebEngine struct{ db *pogreb.DB }

func openPogreb(dir string) (workload.Engine, error) {
	pogreb.SetLogger(log.New(discard{}, "", 0))
	db, err := pogreb.Open(dir, nil)
	return pogrebEngine{db}, err
}

func (e pogrebEngine) Put(key string, value []byte) error {
	if err := e.db.Put([]byte(key), value); err != nil {
		return err
	}
	return e.db.Sync()
}

func (e pogrebEngine) PutAll(keys []string, values [][]byte) error {
	for i, key := range keys {
		if err := e.db.Put([]byte(key), values[i]); err != nil {
			return err
		}
	}
	return e.db.Sync()
}

func (e pogrebEngine) Get(key string) ([]byte, error) { return e.db.Get([]byte(key)) }

func (e pogrebEngine) Keys(fn func(key []byte)) error {
	for items := e.db.Items(); ; {
		key, _, err := items.Next()
		if errors.Is(err, pogreb.ErrIterationDone) {
			return nil
		}
		if err != nil {
			return err
		}
		fn(key)
	}
}

func (e pogrebEngine) Compact() error {
	_, err := e.db.Compact()
	return err
}

func (e pogrebEngine) Close() error { return e.db.Close() }

// discard suppresses pogreb's log messages.
type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
