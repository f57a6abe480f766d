package kv

import "context"

// Doubtful is implemented by buckets that know what damage took from them. [As] finds it.
type Doubtful interface {
	// Doubt says what damage took from the bucket, or may have taken. The zero value is
	// the answer of a sound bucket. The slices are the caller's.
	Doubt(ctx context.Context) (Doubt, error)

	// AcceptLoss ends the doubt for good: from then on the newest records that are known
	// count as the newest, and a key without one as absent. It returns what it gave up.
	// Records whose values are lost stay an error of their keys until the keys are written
	// to.
	AcceptLoss(ctx context.Context) (Doubt, error)
}

// DoubtfulStore is implemented by stores that know whether changes of buckets as a whole
// are missing. While some are, listings of the buckets, looking for a bucket that is not
// there, and creating one are a *[CorruptError]. [As] finds it.
type DoubtfulStore interface {
	// AcceptOperations gives up what is missing: from then on the buckets that are known
	// are all that there are. A bucket that a missing change may have concerned stays in
	// doubt; see Doubtful.AcceptLoss. It returns how many changes were missing.
	AcceptOperations(ctx context.Context) (given uint64, err error)
}

// Doubt is what damage took from a bucket, or may have taken.
//
// Bound is a revision, 0 for none. No record above it is missing. So the newest record
// of a key is right if its revision is above the bound, and a key without such a record
// is in doubt. Reads of a key in doubt, listings, counts and conditions are a
// *[CorruptError]; writes without a condition are taken, and take their key out of doubt.
type Doubt struct {
	Bound   Revision
	Unknown bool           // a change of the bucket as a whole may be missing: all of it is in doubt, and it takes no writes
	Missing []MissingRange // where records are missing, ascending; the oldest may be left out
	Lost    []LostRecord   // records that are known and whose values are lost, ascending; the oldest may be left out
}

// MissingRange is a range of revisions of which records are missing: those above After
// and not above UpTo.
type MissingRange struct {
	After, UpTo Revision
	Records     uint64 // missing; 0: unknown
	File        string // that was damaged
	Offset      int64  // of the damage in bytes from the start of File; -1: the file as a whole
}

// LostRecord is a record whose value is lost.
type LostRecord struct {
	Key      string
	Revision Revision
}

type staleKey struct{}

// WithStale returns a context whose reads are answered from what is known, also where it
// is in doubt: the answer may be a value that was replaced, or a key that was deleted,
// and a listing may have too many or too few keys. A damaged value is still an error. A
// condition of a write is never judged by such state.
func WithStale(ctx context.Context) context.Context { return context.WithValue(ctx, staleKey{}, true) }

// IsStale reports whether [WithStale] made the context.
func IsStale(ctx context.Context) bool { return ctx.Value(staleKey{}) != nil }
