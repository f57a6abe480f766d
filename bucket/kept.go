package bucket

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"kvd/index"
	"kvd/kv"
)

// Kept is a record that a bucket keeps, as [Bucket.Records] tells it.
type Kept struct {
	kv.Entry       // without value and headers if Damage is not nil
	Newest   bool  // no newer record of the key is known
	Damage   error // why the record cannot be read, a *kv.CorruptError; nil: it was
}

// Records calls fn for each record that the bucket keeps, in ascending order of revisions: markers
// too, and those whose time has passed but that were not removed yet. It tells what is known,
// also where the bucket is in doubt; see [Bucket.Doubt]. It is for copies of a store that nobody
// writes to: it leaves out records that are removed meanwhile, and keeps some 40 bytes and the key
// of each record. k and its slices are valid until fn returns. The error is fn's, that of the
// context, or the system's.
func (b *Bucket) Records(ctx context.Context, fn func(k *Kept) error) error {
	if err := b.checkOpen(ctx); err != nil {
		return err
	}
	var room []byte // for the value
	for _, r := range b.keptRefs() {
		if err := ctx.Err(); err != nil {
			return err
		}
		k, ok, err := b.readKept(&r, &room)
		if err != nil {
			return fmt.Errorf("read bucket %q: %w", b.name, err)
		}
		if !ok {
			continue
		}
		if err := fn(&k); err != nil {
			return err
		}
		if cap(room) > keptRoomMax {
			room = nil
		}
	}
	return nil
}

// keptRoomMax is the largest buffer that Records keeps for the next value, bytes.
const keptRoomMax = 1 << 20

// keptRef names a record.
type keptRef struct {
	revision kv.Revision
	key      string
	newest   bool
}

// keptRefs returns all records, in ascending order of revisions.
func (b *Bucket) keptRefs() (refs []keptRef) {
	for n, more := 0, true; more; n++ {
		more = b.keptPart(n, &refs)
	}
	slices.SortFunc(refs, func(x, y keptRef) int {
		if x.revision < y.revision {
			return -1
		}
		return 1
	})
	return slices.CompactFunc(refs, func(x, y keptRef) bool { return x.revision == y.revision })
}

// keptPart adds the records of a part of the index, and reports whether there is such a part.
func (b *Bucket) keptPart(n int, refs *[]keptRef) (more bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.mu.gone != nil {
		return false
	}
	return b.mu.index.Part(n, func(key []byte, _ index.Version) {
		name := string(key)
		versions := b.versionsLocked(nil, index.Hash(name), name)
		for i := range versions {
			*refs = append(*refs, keptRef{versions[i].Revision, name, i == len(versions)-1})
		}
	})
}

// readKept reads a record. Its value is in room, which grows if it is too small. ok is false if the
// bucket no longer keeps the record. Damage is part of k.
func (b *Bucket) readKept(r *keptRef, room *[]byte) (k Kept, ok bool, err error) {
	b.mu.RLock()
	v, ok := b.revisionLocked(index.Hash(r.key), r.key, r.revision)
	if !ok {
		gone := b.mu.gone
		b.mu.RUnlock()
		return k, false, gone
	}
	sl := b.mu.segments[v.Segment]
	sl.Pin()
	b.mu.RUnlock()
	defer sl.Unpin()
	k.Newest = r.newest
	*room, err = b.readInto(&k.Entry, sl.Segment, (*room)[:0], r.key, &v)
	if isDamage(err) {
		k.Damage = err
		k.Entry = kv.Entry{Bucket: b.name, Key: r.key, Revision: v.Revision, Created: time.Unix(0, v.Created).UTC(), Operation: v.Op, Reason: v.Reason}
		if v.Deadline != 0 {
			k.Deadline = time.Unix(0, v.Deadline).UTC()
		}
		err = nil
	}
	return k, true, err
}

// NextRevision returns the revision of the bucket's next write. It is above every revision that was
// issued.
func (b *Bucket) NextRevision() kv.Revision {
	b.store.path.Lock()
	defer b.store.path.Unlock()
	return b.next
}

// isDamage reports whether an error is that of damaged bytes.
func isDamage(err error) bool {
	var damage *kv.CorruptError
	return errors.As(err, &damage)
}
