package bucket

import (
	"context"
	"time"

	"kvd/bucket/journal"
	"kvd/index"
	"kvd/segment"
)

// This file has what the sweep does after a leap of the clock that nobody confirmed
// (clock.go). The time between the newest time in the store and the clock's may not have
// passed. So the records of before the leap are swept as if it had not: later by the leap
// than readers take them for expired. Later records are swept as ever.
//
// The order of sweeping is the order of revisions still: a record of before is due before
// any record of after, for its time and the leap together are at most the clock's time at
// Open.
//
// Until something is written nothing is swept. A marker would be the first record with the
// new time, and the next Open would take this time for the right one.
//
// An edit of the TTL or the history ends the waiting in its bucket. The records have
// expired by the configuration that it replaces, and would return with the new one.

// wait makes the records up to a time be swept later by leap. It is called once, before the
// first sweep.
func (b *Bucket) wait(upTo, leap int64) {
	b.sweeping.leaptFrom = upTo
	b.sweeping.leap.Store(leap)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.index.Delay(upTo, leap)
}

// endWait ends the waiting. The caller holds the lock of the sweep.
func (b *Bucket) endWait() {
	if b.sweeping.leap.Swap(0) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.index.Delay(0, 0)
}

// restsUnconfirmed reports whether nothing of the bucket is swept before something is
// written.
func (b *Bucket) restsUnconfirmed() bool {
	return b.sweeping.leap.Load() != 0 && b.store.clock.unconfirmed()
}

// aged reports whether the bucket's TTL has expired a record, for the sweep.
func (w *sweepState) aged(created int64, ttl time.Duration, now int64) bool {
	at := later(created, ttl)
	if leap := w.leap.Load(); leap != 0 && created <= w.leaptFrom {
		at = later(at, time.Duration(leap))
	}
	return at <= now
}

// operateAfterWait is operateAfterSweep for an operation that ends the waiting.
func (b *Bucket) operateAfterWait(ctx context.Context, decide func() (journal.Operation, error)) error {
	if err := b.lockSweep(ctx); err != nil {
		return err
	}
	defer b.unlockSweep()
	b.endWait()
	return b.operateAfterSweepLocked(ctx, decide)
}

// eraseMarkers removes the markers that are due and have a deadline after upTo, one by one.
// Such markers are there only after a leap of the clock: they were written later. The rule
// of journal.ExpireMarkers would remove those that wait with them.
func (b *Bucket) eraseMarkers(ctx context.Context, upTo int64) error {
	for b.sweeping.leap.Load() != 0 {
		batch := b.laterMarkers(upTo)
		if len(batch) == 0 {
			return nil
		}
		if err := b.commitLow(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// laterMarkers returns the erasures of a batch of markers that are due and have a deadline
// after upTo.
func (b *Bucket) laterMarkers(upTo int64) (batch []mutation) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	b.mu.index.Due(index.ExpiringMarkers, func(key []byte, v index.Version) bool {
		if v.Deadline > upTo {
			name := string(key)
			batch = append(batch, mutation{
				bucket: b, kind: eraseRecords, key: name, hash: index.Hash(name), floor: v.Revision + 1,
				size: segment.RecordSize(len(name), 0, 0, false, false),
			})
		}
		return len(batch) < sweepBatch
	})
	return batch
}
