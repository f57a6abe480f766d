package msglog

import (
	"context"

	"kvd/kv"
)

// Kind is the [kv.Config] Kind of a bucket that is a log: its records expire without a
// marker, and none has a TTL of its own. A bucket is a log, or is none, for good.
const Kind kv.BucketKind = 1

// Log is a [kv.Bucket] that also shows markers, finds records by revision alone, and
// removes records without writing markers. [kv.As] finds it. Records that have expired
// count as absent. Safe for concurrent use.
type Log interface {
	// Last returns the newest record of key, marker or not. ErrKeyNotFound if
	// there is none.
	Last(ctx context.Context, key string) (kv.Entry, error)

	// LastAppended returns the newest record that Append has made of key.
	// ErrKeyNotFound if there is none.
	LastAppended(ctx context.Context, key string) (kv.Entry, error)

	// At returns the record with that revision, whatever its key, marker or not,
	// as long as it is kept. ErrKeyNotFound if there is none.
	At(ctx context.Context, revision kv.Revision) (kv.Entry, error)

	// Next returns the record with the lowest revision, at or above from, whose key
	// matches pattern, marker or not. ErrKeyNotFound if there is none.
	Next(ctx context.Context, pattern string, from kv.Revision) (kv.Entry, error)

	// Scan calls fn for the records whose keys match pattern, markers or not, ascending,
	// from the revision from to upTo, until fn returns false: that record is left to
	// the next scan. An entry and its slices are valid until fn returns. A scan also ends where a reader would
	// wait too long. next is the revision at which the next scan goes on; it is above
	// upTo, or above the newest revision, if there are no more records. Records that were
	// superseded or removed meanwhile are left out. *kv.CorruptError if a record is
	// damaged, after those before it.
	Scan(ctx context.Context, pattern string, from, upTo kv.Revision, fn func(*kv.Entry) bool) (next kv.Revision, err error)

	// Select finds the newest record of each key as of one revision; see [Query].
	// ErrTooMany if there are more than q.Max.
	Select(ctx context.Context, q Query) (Selection, error)

	// Erase removes records without a marker, and returns how many. It takes those
	// whose keys match pattern and whose revisions are below the given one (0: all),
	// except the keep newest of them. Watchers are not told, but a watch that resumes
	// from the last record of an erased key gets kv.ErrCompacted. The removal is durable
	// when Erase returns. A large one is made in several steps.
	Erase(ctx context.Context, pattern string, below kv.Revision, keep uint64) (uint64, error)

	// Trim removes the oldest records, whatever their keys, without a marker, and
	// returns how many, also those that went before an error. With below > 0 it
	// removes all records below that revision. Otherwise it removes until at most
	// records (0: any number) are left, of at most bytes in all (0 or less: any), as
	// in [kv.Status] Bytes. Records that are written meanwhile may count or not.
	// Watchers are not told. The removal is durable when Trim returns. A large one is
	// made in several steps, the oldest records first. Where nothing has to be
	// removed, nothing is written. ErrNotSupported if the bucket's Kind is not [Kind].
	Trim(ctx context.Context, below kv.Revision, records uint64, bytes int64) (uint64, error)
}

// PassForgotten lets a watch resume although the end of a key was forgotten, where it
// would fail with ErrCompacted. It is for a protocol whose clients expect no such error.
func PassForgotten() kv.WatchOption { return func(o *kv.WatchOptions) { o.PassForgotten = true } }

// SelectAtMost bounds how many initial entries a watch selects at a time: at least 1. It is
// for a reader that wants no more of them, and asks [kv.Poller] how many there are.
func SelectAtMost(n int) kv.WatchOption { return func(o *kv.WatchOptions) { o.SelectAtMost = n } }
