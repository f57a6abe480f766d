package bucket

import (
	"context"
	"errors"

	"kvd/index"
	"kvd/internal/view"
	"kvd/kv"
	"kvd/kv/msglog"
)

// This file implements appends: puts whose key is made from their revision. The key is
// unknown until the append is judged. If it is judged again, the key may differ.

// judgeAppendLocked is judgeOneLocked for an append. It makes the append's key.
func (g *group) judgeAppendLocked(m *mutation, now int64) error {
	put := *m // m keeps the caller's key, since it may be judged again
	put.key = g.appendedKey(m.key, m.bucket.next)
	put.hash = index.Hash(put.key)
	err := g.judgeOneLocked(&put, now)
	m.revision = put.revision
	return err
}

// appendedKey returns the key of an append. The group owns its memory.
func (g *group) appendedKey(key string, revision kv.Revision) string {
	from := len(g.keys)
	g.keys = append(append(g.keys, key...), '.')
	g.keys = msglog.AppendSuffix(g.keys, revision)
	return view.String(g.keys[from:])
}

// LastAppended returns the newest append of key; see [msglog.Log]. Many keys may begin with
// the key and a dot. It reads the values of keys that appends to key have made, and of no
// other.
func (b *Bucket) LastAppended(ctx context.Context, key string) (kv.Entry, error) {
	s, err := b.openSnapshot(ctx)
	if err != nil {
		return kv.Entry{}, err
	}
	defer b.closeSnapshot(s)
	config, _ := b.config() // a deleted bucket has no entries
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
		return errors.Is(err, kv.ErrKeyNotFound) // it may have been removed since
	})
	if errors.Is(err, kv.ErrKeyNotFound) && s.doubtful != nil {
		err = kv.NameKey(b.name, "", s.doubtful)
	}
	return last, err
}
