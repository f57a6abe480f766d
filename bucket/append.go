package bucket

import (
	"context"
	"errors"

	"kvd/index"
	"kvd/internal/view"
	"kvd/kv"
	"kvd/kv/msglog"
)

// This file is about appends: puts of a key of their own, which their revision makes.
// So the key is not known before an append is judged, and may be another each time
// that is done.

// judgeAppend is judgeOne for an append, whose key it makes.
func (g *group) judgeAppend(m *mutation, now int64) error {
	put := *m // the caller's key stays, should this be judged again
	put.key = g.appendedKey(m.key, m.bucket.next)
	put.hash = index.Hash(put.key)
	err := g.judgeOne(&put, now)
	m.revision = put.revision
	return err
}

// appendedKey returns the key of an append, in memory of the group.
func (g *group) appendedKey(key string, revision kv.Revision) string {
	from := len(g.keys)
	g.keys = append(append(g.keys, key...), '.')
	g.keys = msglog.AppendSuffix(g.keys, revision)
	return view.String(g.keys[from:])
}

// LastAppended returns the newest append of key; see [msglog.Log]. Of the keys that
// begin with the key and a dot, of which there may be many, it comes by its appends alone.
func (b *Bucket) LastAppended(ctx context.Context, key string) (kv.Entry, error) {
	s, err := b.openSnapshot(ctx)
	if err != nil {
		return kv.Entry{}, err
	}
	defer b.closeSnapshot(s)
	config, _ := b.config() // of a bucket that is gone nothing is found
	now := b.store.clock.now()
	newest := string(msglog.AppendSuffix([]byte(key+"."), s.at))
	oldest := string(msglog.AppendSuffix([]byte(key+"."), 0))
	var last kv.Entry
	err = kv.ErrKeyNotFound
	s.Ascend(newest, func(k []byte, v index.Version) bool {
		if string(k) > oldest {
			return false
		}
		if len(k) == len(oldest) && v.Op == kv.Put && !hasExpired(&v, config.TTL, now, true) {
			last, err = b.Last(ctx, string(k))
		}
		return errors.Is(err, kv.ErrKeyNotFound) // it may have gone since
	})
	return last, err
}
