package bucket

import (
	"context"
	"errors"
	"time"

	"kvd/bucket/journal"
	"kvd/bucket/manifest"
	"kvd/index"
	"kvd/internal/view"
	"kvd/kv"
)

// A purge-deletes and a shorter history are decided in one instant, however many
// keys they concern: one operation of the log changes the bucket's rules (live.go),
// and what these make dead is dead from then on. Taking it out of the index takes
// longer, a part of the index at a time; until that is done the bucket settles:
//
//   - readers and snapshots apply the rules to what they find;
//   - a mutation takes what is dead of its key out of the index before it is judged,
//     so that conditions and floors know of nothing else: the floor of a record may
//     not bring back what the rules, which look at the newest record, had ended;
//   - compaction and the manifest go by the index and the rules as they are: a dead
//     record that the index still has is kept a little longer;
//   - what is counted over all keys, such as Status.Values, Status.Bytes and with it
//     the room that a size limit leaves, lags until the call that decided returns.
//
// A crash in between leaves the rules, and the next open applies them to every key.

// pathHold is for how long what can wait holds the path at a time, about: no longer
// than a sync takes.
const pathHold = 150 * time.Microsecond

// yieldPath is called between two such turns. A lock goes to who runs, and writers who
// wait for the path have to wake up first: so who has time sleeps while there are any.
func (s *Store) yieldPath() {
	if s.commit.busy() {
		time.Sleep(pathHold)
	}
}

// change changes the bucket's rules. The caller holds path. At run time whoever
// had the operation decided settles the bucket afterwards; of what is replayed,
// maybe a thousand of these, recovery does so once, at its end.
func (b *Bucket) changeRules(change func(*manifest.Liveness)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.mu.live)
	if b.store.log == nil {
		b.stale = true
	}
}

// unsettle is change for rules that say of many keys what stays. Settle ends what
// it begins.
func (b *Bucket) beginRules(change func(*manifest.Liveness)) {
	b.changeRules(func(l *manifest.Liveness) {
		change(l)
		if b.store.log != nil {
			b.mu.settling++
		}
	})
}

// settle takes what is dead by the bucket's rules out of the index, and ends what
// unsettle began. Several may run at a time: each comes by every key under the
// rules that it was called for.
func (b *Bucket) finishRules() {
	b.applyRules()
	b.store.path.Lock()
	defer b.store.path.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.settling--
}

// applyRules takes what is dead by the bucket's rules out of the index, so few keys
// at a time that readers and writers pass between.
func (b *Bucket) applyRules() {
	for n := 0; b.applyRulesToPart(n); n++ {
	}
}

// applyRulesToPart settles the keys of one part of the index, and reports whether there
// is such a part.
func (b *Bucket) applyRulesToPart(n int) (more bool) {
	const slice = 32 // keys per turn at mu
	keys, more := b.affected(n)
	for len(keys) > 0 {
		b.store.path.Lock()
		for began := time.Now(); len(keys) > 0 && time.Since(began) < pathHold; {
			turn := keys[:min(slice, len(keys))]
			keys = keys[len(turn):]
			b.mu.Lock()
			for _, key := range turn {
				b.applyRulesToKeyLocked(index.Hash(key), key)
			}
			b.mu.Unlock()
		}
		b.store.path.Unlock()
		b.store.yieldPath()
	}
	return more
}

// affected returns the keys of one part of the index that have a version which is
// dead by the bucket's rules, and whether there is such a part. Of a bucket that is
// gone there is none.
func (b *Bucket) affected(n int) (keys []string, more bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.mu.gone != nil {
		return nil, false
	}
	var room [kv.MaxHistory]index.Version
	more = b.mu.index.Part(n, func(key []byte, _ index.Version) {
		name := view.String(key)
		versions := b.mu.index.Versions(room[:0], index.Hash(name), name)
		if n := len(versions); len(b.mu.live.Filter(versions)) < n {
			keys = append(keys, string(key))
		}
	})
	return keys, more
}

// applyRulesToKeyLocked drops the versions of one key that are dead by the bucket's
// rules.
func (b *Bucket) applyRulesToKeyLocked(hash uint64, key string) {
	var room, kept [kv.MaxHistory]index.Version
	versions := b.mu.index.Versions(room[:0], hash, key)
	live := b.mu.live.Filter(append(kept[:0], versions...))
	for _, v := range versions {
		if len(live) > 0 && live[0].Revision == v.Revision {
			live = live[1:]
			continue
		}
		b.mu.index.Remove(hash, key, v.Revision, nil)
	}
}

// applyRulesBefore settles the key of a mutation that is about to be judged. The
// caller holds path.
func (m *mutation) applyRulesBefore() {
	b := m.bucket
	if b.mu.settling == 0 { // written under path and mu
		return
	}
	b.mu.Lock()
	b.applyRulesToKeyLocked(m.hash, m.key)
	b.mu.Unlock()
}

// versionsLocked returns the versions of a key, oldest first, in dst, which is
// empty.
func (b *Bucket) versionsLocked(dst []index.Version, hash uint64, key string) []index.Version {
	versions := b.mu.index.Versions(dst, hash, key)
	if b.mu.settling > 0 {
		versions = b.mu.live.Filter(versions)
	}
	return versions
}

// newestLocked returns the newest version of a key. Who asks for a value need not
// ask here: a bucket that settles has lost none.
func (b *Bucket) newestLocked(hash uint64, key string) (v index.Version, ok bool) {
	if b.mu.settling == 0 {
		return b.mu.index.Newest(hash, key)
	}
	versions := b.versionsLocked(nil, hash, key)
	if len(versions) == 0 {
		return v, false
	}
	return versions[len(versions)-1], true
}

// revisionLocked returns the version of a key that has the revision.
func (b *Bucket) revisionLocked(hash uint64, key string, revision kv.Revision) (v index.Version, ok bool) {
	if b.mu.settling == 0 {
		return b.mu.index.At(hash, key, revision)
	}
	for _, v := range b.versionsLocked(nil, hash, key) {
		if v.Revision == revision {
			return v, true
		}
	}
	return v, false
}

// rulesLocked returns the rules that a snapshot taken now needs, nil if it needs
// none. They do not change: a liveness is replaced piece by piece.
func (b *Bucket) rulesLocked() *manifest.Liveness {
	if b.mu.settling == 0 {
		return nil
	}
	rules := b.mu.live
	return &rules
}

// PurgeDeletes drops the history behind markers, and old markers.
func (b *Bucket) PurgeDeletes(ctx context.Context, olderThan time.Duration) error {
	if err := b.usable(ctx); err != nil {
		return err
	}
	if olderThan == 0 {
		olderThan = kv.DefaultMarkerAge
	}
	decided, err := b.purgeDeletes(ctx, olderThan)
	if decided {
		b.finishRules()
	}
	return kv.NameKey(b.name, "", err)
}

// forget decides a purge-deletes, and reports whether there was anything to
// decide. The rule is about markers up to a revision of this moment: while the
// bucket is surveyed for it, what it concerns only ever becomes less. So the
// survey, which looks at every key, holds up nobody.
func (b *Bucket) purgeDeletes(ctx context.Context, olderThan time.Duration) (decided bool, err error) {
	s := b.store
	survey := survey{cutoff: int64(1<<63 - 1)}
	err = b.operateAfterSweep(ctx, func() (journal.Operation, error) {
		survey.upTo = b.next - 1
		if olderThan >= 0 {
			survey.cutoff = s.clock.advance() - int64(olderThan)
		}
		return nil, errUnchanged
	})
	if !errors.Is(err, errUnchanged) {
		return false, err
	}
	for n := 0; survey.part(b, n); n++ {
		if err := ctx.Err(); err != nil {
			return false, err
		}
	}
	if !survey.found {
		return false, b.takesWrites()
	}
	err = s.operate(ctx, func() (journal.Operation, error) {
		rule := manifest.PurgeDeletes{UpTo: survey.upTo, MarkersUpTo: survey.markers}
		return &journal.PurgeDeletes{Bucket: b.id, Rule: rule}, b.takesWrites()
	})
	return err == nil, err
}

// survey finds what a purge-deletes concerns.
type survey struct {
	upTo    kv.Revision // of the newest marker
	cutoff  int64       // unix ns: a marker as old goes
	markers kv.Revision // the newest that goes
	found   bool        // there is anything dead by it
}

// part looks at one part of the bucket's index, and reports whether there is one.
func (y *survey) part(b *Bucket, n int) (more bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.mu.index.Part(n, func(key []byte, newest index.Version) {
		if !newest.Op.IsMarker() || newest.Revision > y.upTo {
			return
		}
		if newest.Created <= y.cutoff {
			y.found, y.markers = true, max(y.markers, newest.Revision)
			return
		}
		name := view.String(key)
		oldest := b.mu.index.FloorAfter(index.Hash(name), name, kv.MaxHistory)
		y.found = y.found || oldest != newest.Revision
	})
}
