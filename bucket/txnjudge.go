package bucket

import (
	"errors"
	"fmt"

	"kvd/index"
	"kvd/kv"
)

// judgeTransaction decides which branch of a transaction is carried out, and judges its writes. If
// one of them is refused, the group is as it was before. The error is the transaction's.
func (g *group) judgeTransaction(t *transaction, puts bool, now int64) error {
	t.now, t.waits = now, g.hasAny(t.buckets)
	holds, err := g.judgeConditions(t)
	if err != nil {
		return err
	}
	if t.branch = &t.branches[0]; !holds {
		t.branch = &t.branches[1]
	}
	t.from = len(g.effects)
	g.save(t)
	if err = g.judgeWrites(t, puts); err == nil {
		err = g.judgeReads(t)
	}
	if err != nil {
		g.cut(t)
		g.restate(t, err)
		t.waits = t.waits || errors.Is(err, kv.ErrBucketFull)
		return err
	}
	t.to = len(g.effects)
	for i, b := range t.buckets {
		t.at[i] = b.next - 1
	}
	if t.to > t.from || t.waits { // otherwise it is answered early
		g.transactions = append(g.transactions, t)
	}
	return nil
}

// restate makes the error of a refused write name the newest revision that there is. The write was
// judged behind the writes before it, and behind the expiry marker of its key. These were taken back:
// others will get their revisions.
func (g *group) restate(t *transaction, err error) {
	var refused *kv.TxnError
	var mismatch *kv.RevisionMismatchError
	if !errors.As(err, &refused) || !errors.As(err, &mismatch) {
		return
	}
	m := t.branch.order[refused.Op]
	judged, why := mismatch.Got, "a write before it in the transaction changed that"
	if mismatch.Key == "" {
		mismatch.Got = m.bucket.next - 1
	} else if newest, present, expired := g.newestAt(m, t.now); expired {
		mismatch.Got, why = 0, "the key has expired"
	} else if mismatch.Got = 0; present {
		mismatch.Got = newest.Revision
	}
	if mismatch.Got != judged {
		refused.Err = fmt.Errorf("%w: %s", mismatch, why)
	}
}

// newestAt returns the newest record of the mutation's key with all mutations that the group has so
// far, whether there is one, and whether it has expired.
func (g *group) newestAt(m *mutation, now int64) (newest index.Version, present, expired bool) {
	b := m.bucket
	b.mu.RLock()
	defer b.mu.RUnlock()
	newest, present = g.newest(m, g.pending.find(g, m))
	return newest, present, present && hasExpired(&newest, b.mu.config.TTL, now, true)
}

// hasAny reports whether the group has records of any of the buckets.
func (g *group) hasAny(buckets []*Bucket) bool {
	for _, b := range buckets {
		if g.has(b) {
			return true
		}
	}
	return false
}

// judgeConditions reports whether all conditions of a transaction hold. It returns errValueMoved
// if that depends on a value that the caller has not compared.
func (g *group) judgeConditions(t *transaction) (holds bool, err error) {
	moved := false
	for i := range t.conditions {
		c := &t.conditions[i]
		holds, err := g.judgeCondition(c, t.now)
		switch {
		case err == errValueMoved: //nolint:errorlint // nothing wraps it
			moved = true
		case err != nil:
			return false, &kv.TxnError{Part: kv.TxnIf, Op: i, Err: kv.NameKey(c.subject.bucket.name, c.subject.key, err)}
		case !holds:
			return false, nil
		}
	}
	if moved {
		return false, errValueMoved
	}
	return true, nil
}

// judgeCondition reports whether a condition holds in the state with all mutations that the group
// has so far.
func (g *group) judgeCondition(c *condition, now int64) (bool, error) {
	m := &c.subject
	b := m.bucket
	m.applyPendingRules()
	m.bucket.mu.RLock()
	defer m.bucket.mu.RUnlock()
	if b.mu.gone != nil {
		return false, b.mu.gone
	}
	if c.is == kv.BucketAtRevision {
		return b.next-1 == c.revision, nil
	}
	newest, present := g.newest(m, g.pending.find(g, m))
	if b.inDoubtLocked(newest.Revision) {
		return false, b.mu.doubtful
	}
	expired := present && hasExpired(&newest, b.mu.config.TTL, now, true)
	exists := present && !expired && newest.Op == kv.Put
	switch c.is {
	case kv.Exists:
		return exists, nil
	case kv.Absent:
		return !exists, nil
	case kv.ValueIs, kv.ValueIsNot:
		if exists && newest.Revision != c.seen {
			return false, errValueMoved
		}
		return (exists && c.equal) == (c.is == kv.ValueIs), nil
	}
	at := newest.Revision == c.revision
	switch {
	case expired && newest.Op == kv.Put && !b.noMarkers:
		at = false // its newest record is its expiry marker, which is not written yet
	case expired || !present:
		at = c.revision == 0
	}
	return at == (c.is == kv.AtRevision), nil
}

// applyPendingRules is applyRulesBefore if there are any. The caller holds path.
func (m *mutation) applyPendingRules() {
	if m.bucket.mu.rulesPending > 0 { // written under path and mu
		m.applyRulesBefore()
	}
}

// judgeWrites judges the writes of the branch of a transaction, each in the state after those
// before it.
func (g *group) judgeWrites(t *transaction, puts bool) error {
	judged := 0
	for judged < len(t.branch.order) {
		rest := t.branch.order[judged:]
		n := g.judgeSlice(rest, puts, t.now)
		for i, m := range rest[:n] {
			if m.err != nil {
				return &kv.TxnError{Part: t.branch.write, Op: judged + i, Err: kv.NameKey(m.bucket.name, m.key, m.err)}
			}
		}
		judged += n
	}
	return nil
}

// judgeReads refuses reads of keys that will be in doubt after the writes of the transaction, and of
// buckets that are gone: nothing may be written then.
func (g *group) judgeReads(t *transaction) error {
	for i := range t.branch.reads {
		m := &t.branch.reads[i].subject
		if err := g.judgeRead(m, t.stale); err != nil {
			return &kv.TxnError{Part: t.branch.read, Op: i, Err: kv.NameKey(m.bucket.name, m.key, err)}
		}
	}
	return nil
}

func (g *group) judgeRead(m *mutation, stale bool) error {
	m.applyPendingRules()
	m.bucket.mu.RLock()
	defer m.bucket.mu.RUnlock()
	if m.bucket.mu.gone != nil {
		return m.bucket.mu.gone
	}
	if newest, _ := g.newest(m, g.pending.find(g, m)); m.bucket.inDoubtLocked(newest.Revision) && !stale {
		return m.bucket.mu.doubtful
	}
	return nil
}
