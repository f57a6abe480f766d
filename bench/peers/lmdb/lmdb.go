//go:build linux

package main

import (
	"errors"
	"os"

	"github.com/PowerDNS/lmdb-go/lmdb"

	"kvd/bench/workload"
)

var peer = workload.Peer{
	Name: "lmdb", Kind: workload.Embedded, Open: open,
	Version: func() (string, error) { return workload.ModuleVersion("github.com/PowerDNS/lmdb-go"), nil },
}

// engine is LMDB, which syncs at the end of every transaction.
type engine struct {
	env *lmdb.Env
	dbi lmdb.DBI
}

// mapSize is the limit that LMDB wants to know of the size of a store, in bytes.
const mapSize = 8 << 30

func open(dir string) (workload.Engine, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	env, err := lmdb.NewEnv()
	if err != nil {
		return nil, err
	}
	e := engine{env: env}
	if err := errors.Join(env.SetMapSize(mapSize), env.Open(dir, 0, 0o600)); err != nil {
		return nil, errors.Join(err, env.Close())
	}
	err = env.Update(func(tx *lmdb.Txn) (err error) {
		e.dbi, err = tx.OpenRoot(0)
		return err
	})
	return e, err
}

func (e engine) Put(key string, value []byte) error {
	return e.env.Update(func(tx *lmdb.Txn) error { return tx.Put(e.dbi, []byte(key), value, 0) })
}

func (e engine) PutAll(keys []string, values [][]byte) error {
	return e.env.Update(func(tx *lmdb.Txn) error {
		for i, key := range keys {
			if err := tx.Put(e.dbi, []byte(key), values[i], 0); err != nil {
				return err
			}
		}
		return nil
	})
}

func (e engine) Get(key string) (value []byte, err error) {
	err = e.env.View(func(tx *lmdb.Txn) error {
		found, err := tx.Get(e.dbi, []byte(key))
		if lmdb.IsNotFound(err) {
			return nil
		}
		value = found // a copy: tx.RawRead is not set
		return err
	})
	return value, err
}

func (e engine) Keys(fn func(key []byte)) error {
	return e.env.View(func(tx *lmdb.Txn) error {
		tx.RawRead = true
		cursor, err := tx.OpenCursor(e.dbi)
		if err != nil {
			return err
		}
		defer cursor.Close()
		for {
			key, _, err := cursor.Get(nil, nil, lmdb.Next)
			if lmdb.IsNotFound(err) {
				return nil
			}
			if err != nil {
				return err
			}
			fn(key)
		}
	})
}

func (e engine) Close() error { return e.env.Close() }
