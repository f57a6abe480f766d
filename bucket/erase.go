package bucket

import (
	"context"
	"slices"

	"kvd/index"
	"kvd/internal/view"
	"kvd/kv"
	"kvd/kv/msglog"
	"kvd/segment"
)

// eraseBatch is the number of keys that are erased by one request. It is small, so that
// other writes are committed in between.
const eraseBatch = 256

var _ msglog.Log = (*Bucket)(nil)

// Erase removes records without writing a marker; see [msglog.Log]. It removes, for each
// key that matches, the records below one revision. So an erase record carries a floor for
// its key. After a crash some keys may be erased and others unchanged.
func (b *Bucket) Erase(ctx context.Context, pattern string, below kv.Revision, keep uint64) (uint64, error) {
	if err := kv.CheckPattern(pattern); err != nil {
		return 0, err
	}
	if err := b.checkOpen(ctx); err != nil {
		return 0, err
	}
	if b.expires.Load() { // keep does not count expired records
		if err := b.sweepOnce(ctx); err != nil {
			return 0, err
		}
	}
	keys, floor, err := b.erasable(ctx, pattern, below, keep)
	if err != nil {
		return 0, err
	}
	var erased uint64
	for batch := range slices.Chunk(keys, eraseBatch) {
		n, err := b.eraseKeys(ctx, batch, floor)
		if erased += n; err != nil {
			return erased, err
		}
	}
	return erased, nil
}

// erasable returns the floor of the erasure, and the keys that match and have a record
// below it.
func (b *Bucket) erasable(ctx context.Context, pattern string, below kv.Revision, keep uint64) (keys []string, floor kv.Revision, err error) {
	snapshot, err := b.openSnapshot(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer b.closeSnapshot(snapshot)
	if err := b.checkDoubt(); err != nil {
		return nil, 0, err
	}
	floor = snapshot.at + 1
	if below != 0 {
		floor = min(floor, below)
	}
	var oldest, matching []kv.Revision // of each key; of all their records, if keep is not 0
	snapshot.AscendVersions(kv.LiteralPrefix(pattern), func(key []byte, versions []index.Version) bool {
		if len(keys)%contextCheck == 0 && ctx.Err() != nil {
			return false
		}
		if snapshot.rules != nil {
			versions = snapshot.rules.Filter(versions)
		}
		if len(versions) == 0 || versions[0].Revision >= floor || !kv.Match(pattern, view.String(key)) {
			return true
		}
		keys, oldest = append(keys, string(key)), append(oldest, versions[0].Revision)
		for i := range versions {
			if keep > 0 && versions[i].Revision < floor {
				matching = append(matching, versions[i].Revision)
			}
		}
		return true
	})
	if err := ctx.Err(); err != nil || keep == 0 {
		return keys, floor, err
	}
	if uint64(len(matching)) <= keep {
		return nil, 0, nil
	}
	slices.Sort(matching)
	floor = matching[uint64(len(matching))-keep]
	kept := keys[:0]
	for i, key := range keys {
		if oldest[i] < floor {
			kept = append(kept, key)
		}
	}
	return kept, floor, nil
}

// eraseKeys commits a batch, and returns the number of records removed.
func (b *Bucket) eraseKeys(ctx context.Context, keys []string, floor kv.Revision) (erased uint64, err error) {
	r := b.store.commit.newRequest()
	defer b.store.commit.free(r)
	r.mutations = make([]mutation, len(keys))
	for i, key := range keys {
		r.mutations[i] = mutation{
			bucket: b, kind: eraseRecords, key: key, hash: index.Hash(key), floor: floor,
			size: segment.RecordSize(len(key), 0, 0, false, false),
		}
	}
	err = b.store.commit.do(ctx, r)
	for i := range r.mutations {
		m := &r.mutations[i]
		erased += uint64(m.erased)
		if err == nil {
			err = m.err
		}
	}
	return erased, err
}

// erase judges an erasure. If there is nothing to remove, nothing is written. The caller
// holds bucket.mu.
func (g *group) erase(m *mutation, prev int, now int64) error {
	newest := m.bucket.next - 1 // an erase record has no revision of its own
	e := m.effect(newest, prev, now)
	e.op, e.version.Op = segment.Erase, 0
	e.floor = max(min(m.floor, m.bucket.next), g.pendingFloor(prev))
	m.erased = g.below(&e, m.bucket)
	if m.erased == 0 {
		return nil
	}
	if err := g.takeRoom(&e, m.bucket); err != nil {
		return err
	}
	g.parts[e.part].freed += int64(m.size) // no count includes an erase record
	g.encode(m, &e)
	return nil
}

// below returns the number of records that an erasure removes.
func (g *group) below(e *effect, b *Bucket) (n int) {
	bound := g.pendingFloor(e.prev)
	for i := e.prev; i >= 0; i = g.effects[i].prev {
		if p := &g.effects[i]; p.op != segment.Erase && p.version.Revision >= bound && p.version.Revision < e.floor {
			n++
		}
	}
	var room [kv.MaxHistory]index.Version
	for _, v := range b.mu.index.Versions(room[:0], e.hash, e.key) {
		if v.Revision >= bound && v.Revision < e.floor {
			n++
		}
	}
	return n
}
