package peers

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/dgraph-io/badger/v4"
	"go.etcd.io/bbolt"

	"kvd/bucket"
	"kvd/kv"
)

// engine is a store that is measured. Put returns when the value is on the disk. The caller
// owns the slice that Get returns; it is nil if the key does not exist.
type engine interface {
	Put(key string, value []byte) error
	PutAll(keys []string, value []byte) error // with any number of syncs
	Get(key string) ([]byte, error)
	Keys(fn func(key []byte)) error // ascending; the key is fn's until it returns
	Close() error
}

var engines = []struct {
	name string
	open func(dir string) (engine, error)
}{
	{"kvd", openKVD},
	{"bbolt", openBolt},
	{"pebble", openPebble},
	{"badger", openBadger},
}

// each runs a benchmark on an empty store of every engine.
func each(b *testing.B, run func(*testing.B, engine)) {
	for _, e := range engines {
		b.Run("engine="+e.name, func(b *testing.B) {
			opened, err := e.open(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			run(b, opened)
			if err := opened.Close(); err != nil {
				b.Error(err)
			}
		})
	}
}

type kvdEngine struct {
	store  *bucket.Store
	bucket kv.Bucket
}

func openKVD(dir string) (engine, error) {
	s, err := bucket.Open(dir, bucket.Options{})
	if err != nil {
		return nil, err
	}
	b, err := s.CreateOrUpdateBucket(context.Background(), kv.Config{Bucket: "b"})
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return kvdEngine{s, b}, nil
}

func (e kvdEngine) Put(key string, value []byte) error {
	_, err := e.bucket.Put(context.Background(), key, value)
	return err
}

func (e kvdEngine) PutAll(keys []string, value []byte) error {
	mutations := make([]kv.Mutation, len(keys))
	for i, key := range keys {
		mutations[i] = kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: key, Value: value}
	}
	errs := []error{e.store.Submit(context.Background(), mutations)}
	for i := range mutations {
		errs = append(errs, mutations[i].Err)
	}
	return errors.Join(errs...)
}

func (e kvdEngine) Get(key string) ([]byte, error) {
	entry, err := e.bucket.Get(context.Background(), key)
	if errors.Is(err, kv.ErrKeyNotFound) {
		return nil, nil
	}
	return entry.Value, err
}

func (e kvdEngine) Keys(fn func(key []byte)) error {
	for key, err := range e.bucket.Keys(context.Background()) {
		if err != nil {
			return err
		}
		fn([]byte(key))
	}
	return nil
}

func (e kvdEngine) Close() error { return e.store.Close() }

type boltEngine struct {
	db      *bbolt.DB
	putting *atomic.Int64 // number of concurrent calls of Put
}

var boltBucket = []byte("b")

func openBolt(dir string) (engine, error) {
	db, err := bbolt.Open(dir+"/bolt", 0o600, nil)
	if err != nil {
		return nil, err
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(boltBucket)
		return err
	})
	return boltEngine{db, new(atomic.Int64)}, err
}

// Put uses Batch, which waits up to 10 ms for other callers. A single caller uses Update.
func (e boltEngine) Put(key string, value []byte) error {
	defer e.putting.Add(-1)
	commit := e.db.Batch
	if e.putting.Add(1) == 1 {
		commit = e.db.Update
	}
	return commit(func(tx *bbolt.Tx) error { return tx.Bucket(boltBucket).Put([]byte(key), value) })
}

func (e boltEngine) PutAll(keys []string, value []byte) error {
	return e.db.Update(func(tx *bbolt.Tx) error {
		for _, key := range keys {
			if err := tx.Bucket(boltBucket).Put([]byte(key), value); err != nil {
				return err
			}
		}
		return nil
	})
}

func (e boltEngine) Get(key string) (value []byte, err error) {
	err = e.db.View(func(tx *bbolt.Tx) error {
		value = append(value, tx.Bucket(boltBucket).Get([]byte(key))...)
		return nil
	})
	return value, err
}

func (e boltEngine) Keys(fn func(key []byte)) error {
	return e.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(boltBucket).ForEach(func(key, _ []byte) error {
			fn(key)
			return nil
		})
	})
}

func (e boltEngine) Close() error { return e.db.Close() }

type pebbleEngine struct{ db *pebble.DB }

func openPebble(dir string) (engine, error) {
	db, err := pebble.Open(dir, &pebble.Options{Logger: silence{}})
	return pebbleEngine{db}, err
}

func (e pebbleEngine) Put(key string, value []byte) error {
	return e.db.Set([]byte(key), value, pebble.Sync)
}

func (e pebbleEngine) PutAll(keys []string, value []byte) error {
	batch := e.db.NewBatch()
	for _, key := range keys {
		if err := batch.Set([]byte(key), value, nil); err != nil {
			return err
		}
	}
	return batch.Commit(pebble.Sync)
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

func (e pebbleEngine) Close() error { return e.db.Close() }

type badgerEngine struct{ db *badger.DB }

func openBadger(dir string) (engine, error) {
	db, err := badger.Open(badger.DefaultOptions(dir).WithSyncWrites(true).WithLogger(nil))
	return badgerEngine{db}, err
}

func (e badgerEngine) Put(key string, value []byte) error {
	return e.db.Update(func(tx *badger.Txn) error { return tx.Set([]byte(key), value) })
}

func (e badgerEngine) PutAll(keys []string, value []byte) error {
	batch := e.db.NewWriteBatch()
	defer batch.Cancel()
	for _, key := range keys {
		if err := batch.Set([]byte(key), value); err != nil {
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

func (e badgerEngine) Close() error { return e.db.Close() }

// silence suppresses Pebble's log messages.
type silence struct{}

func (silence) Infof(string, ...any)           {}
func (silence) Errorf(string, ...any)          {}
func (silence) Fatalf(format string, _ ...any) { panic(format) }
