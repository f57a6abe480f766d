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

// PurgeDeletes and a shorter history take effect in one instant, however many keys they
// concern: one operation of the log changes the bucket's rules (manifest.Liveness), and
// records are dead by them from then on. Removing these records from the index takes
// longer; it is done for one part of the index at a time. Until it is done the rules are
// pending:
//
//   - Readers and snapshots apply the rules to the versions they find.
//   - A mutation removes the dead versions of its key from the index before it is judged.
//     So conditions and floors see live versions only. The rules look at a key's newest
//     record, so that without this the floor of a new record could bring dead records back.
//   - Compaction and the manifest use the index and the rules as they are: a dead record
//     that is still in the index is kept a little longer.
//   - Counts over all keys lag until the call that changed the rules returns: Status.Values,
//     Status.Bytes, and with it the room that a size limit leaves.
//
// After a crash in between the rules are still there, and the next open applies them to
// every key.

// pathHold is about how long background work holds the path at a time: no longer than a
// sync takes.
const pathHold = 150 * time.Microsecond

// yieldPath is called between two holds of the path by background work. A lock goes to
// the goroutine that runs, and writers that wait for the path have to wake up first. So
// background work sleeps while there are such writers.
func (s *Store) yieldPath() {
	if s.commit.busy() {
		time.Sleep(pathHold)
	}
}

// changeRules changes the bucket's rules. The caller holds path. At run time the caller of
// the operation applies them to the index afterwards. Recovery may replay a thousand
// changes, and applies the rules once, at its end.
func (b *Bucket) changeRules(change func(*manifest.Liveness)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.mu.live)
	if b.store.log == nil {
		b.stale = true
	}
}

// beginRules is changeRules for rules that concern many keys. The rules are pending until
// finishRules. The caller holds path.
func (b *Bucket) beginRules(change func(*manifest.Liveness)) {
	b.changeRules(func(l *manifest.Liveness) {
		change(l)
		if b.store.log != nil {
			b.mu.rulesPending++
		}
	})
}

// finishRules removes from the index the versions that are dead by the bucket's rules.
// After beginRules it ends the pending state. Several calls may run at a time: each
// applies to every key the rules that it was called for.
func (b *Bucket) finishRules() {
	b.applyRules()
	b.store.path.Lock()
	defer b.store.path.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.rulesPending--
}

// applyRules removes from the index the versions that are dead by the bucket's rules. It
// takes so few keys at a time that readers and writers run in between.
func (b *Bucket) applyRules() {
	for n := 0; b.applyRulesToPart(n); n++ {
	}
}

// applyRulesToPart applies the rules to the keys of one part of the index, and reports
// whether there is such a part.
func (b *Bucket) applyRulesToPart(n int) (more bool) {
	const slice = 32 // keys per hold of mu
	keys, more := b.affected(n)
	for len(keys) > 0 {
		b.store.path.Lock()
		for began := time.Now(); len(keys) > 0 && time.Since(began) < pathHold; {
			next := keys[:min(slice, len(keys))]
			keys = keys[len(next):]
			b.mu.Lock()
			for _, key := range next {
				b.applyRulesToKeyLocked(index.Hash(key), key)
			}
			b.mu.Unlock()
		}
		b.store.path.Unlock()
		b.store.yieldPath()
	}
	return more
}

// affected returns the keys of one part of the index that have a version which is dead by
// the bucket's rules, and whether there is such a part. A deleted bucket has none.
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

// applyRulesToKeyLocked removes the versions of one key that are dead by the bucket's
// rules. The caller holds mu.
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

// applyRulesBefore applies pending rules to the key of a mutation that is about to be
// judged. The caller holds path.
func (m *mutation) applyRulesBefore() {
	b := m.bucket
	b.mu.Lock()
	b.applyRulesToKeyLocked(m.hash, m.key)
	b.mu.Unlock()
}

// versionsLocked returns the live versions of a key, oldest first, in dst, which is empty.
// The caller holds mu.
func (b *Bucket) versionsLocked(dst []index.Version, hash uint64, key string) []index.Version {
	versions := b.mu.index.Versions(dst, hash, key)
	if b.mu.rulesPending > 0 {
		versions = b.mu.live.Filter(versions)
	}
	return versions
}

// newestLocked returns the newest live version of a key. The caller holds mu. Reads of a
// value can ask the index directly: pending rules never remove a key's current value.
func (b *Bucket) newestLocked(hash uint64, key string) (v index.Version, ok bool) {
	if b.mu.rulesPending == 0 {
		return b.mu.index.Newest(hash, key)
	}
	versions := b.versionsLocked(nil, hash, key)
	if len(versions) == 0 {
		return v, false
	}
	return versions[len(versions)-1], true
}

// revisionLocked returns the live version of a key that has the revision. The caller holds
// mu.
func (b *Bucket) revisionLocked(hash uint64, key string, revision kv.Revision) (v index.Version, ok bool) {
	if b.mu.rulesPending == 0 {
		return b.mu.index.At(hash, key, revision)
	}
	for _, v := range b.versionsLocked(nil, hash, key) {
		if v.Revision == revision {
			return v, true
		}
	}
	return v, false
}

// rulesLocked returns the rules that have to be applied to a snapshot taken now; nil if
// none are pending. They are immutable: a change of the rules replaces the parts of a
// manifest.Liveness. The caller holds mu.
func (b *Bucket) rulesLocked() *manifest.Liveness {
	if b.mu.rulesPending == 0 {
		return nil
	}
	rules := b.mu.live
	return &rules
}

// PurgeDeletes removes the history behind markers, and markers that are older than
// olderThan; see [kv.Bucket].
func (b *Bucket) PurgeDeletes(ctx context.Context, olderThan time.Duration) error {
	if err := b.checkOpen(ctx); err != nil {
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

// purgeDeletes logs the operation of a PurgeDeletes, and reports whether there was
// anything to remove. The rule is about markers up to a revision of this moment. While
// the index is surveyed, the set of records that it concerns can only shrink. So the
// survey, which visits every key, does not hold the path.
func (b *Bucket) purgeDeletes(ctx context.Context, olderThan time.Duration) (decided bool, err error) {
	s := b.store
	survey := survey{cutoff: int64(1<<63 - 1)}
	err = b.operateAfterSweep(ctx, func() (journal.Operation, error) {
		if err := b.checkDoubt(); err != nil {
			return nil, err
		}
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
		return false, b.checkWritable()
	}
	err = s.operate(ctx, func() (journal.Operation, error) {
		rule := manifest.PurgeDeletes{UpTo: survey.upTo, MarkersUpTo: survey.markers}
		return &journal.PurgeDeletes{Bucket: b.id, Rule: rule}, b.checkWritable()
	})
	return err == nil, err
}

// survey finds the records that a PurgeDeletes concerns.
type survey struct {
	upTo    kv.Revision // the highest revision that the rule concerns
	cutoff  int64       // unix ns: markers of this time or older are removed
	markers kv.Revision // the newest marker that is removed
	found   bool        // whether the rule would remove anything
}

// part surveys one part of the bucket's index, and reports whether there is such a part.
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
