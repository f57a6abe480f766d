package main

import (
	"context"
	"errors"
	"fmt"

	"kvd/kv"
)

// getMany prints the entries of many keys, as of one moment. Keys that are missing or damaged
// are named on standard error; the keys behind them follow.
func (a *app) getMany(ctx context.Context, b kv.Bucket, keys []string) error {
	for _, key := range keys {
		if err := kv.CheckKey(key); err != nil {
			return kv.NameKey(b.Name(), key, err)
		}
	}
	r, err := readerOf(b)
	if err != nil {
		return err
	}
	var damaged damagedReads
	printed, absent := 0, 0
	for e, err := range r.GetMany(ctx, keys) {
		if e.Key != "" && errors.Is(err, kv.ErrKeyNotFound) {
			a.printError(err.Error(), exitNotFound)
			absent++
			continue
		}
		if damaged.skip(a, &e, err) {
			continue
		}
		if err != nil {
			return err
		}
		if printed > 0 && !a.json {
			_ = a.out.WriteByte('\n') // an error stays for Flush
		}
		printed++
		if err := a.printEntry(&e, false); err != nil {
			return err
		}
	}
	return errors.Join(notFound(absent, len(keys)), damaged.err(b.Name()))
}

// notFound is the error of keys that are missing; nil if none is.
func notFound(absent, keys int) error {
	if absent == 0 {
		return nil
	}
	return fmt.Errorf("%w: %d of %s", kv.ErrKeyNotFound, absent, counted(uint64(keys), "key", "keys"))
}

// readerOf returns what reads many keys of a bucket.
func readerOf(b kv.Bucket) (kv.Reader, error) {
	r, ok := kv.As[kv.Reader](b)
	if !ok {
		return nil, fmt.Errorf("%w: reads of many keys", kv.ErrNotSupported)
	}
	return r, nil
}
