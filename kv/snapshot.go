package kv

import (
	"context"
	"iter"
	"time"
)

// Snapshotter is a [Store] that shows buckets as they were at one moment. [As] finds it.
type Snapshotter interface {
	// Snapshot returns the buckets of those names as they are now, all at the same moment;
	// without names, all buckets. The caller has to Release it.
	//
	// While a snapshot is open the store keeps the records that are replaced or removed:
	// on the disk, or in memory. So a snapshot is for minutes, not for days.
	//
	// ErrBucketNotFound for a name that no bucket has, ErrTooManySnapshots for one more
	// than the store allows. Without names ErrCorrupt, if damage took changes of the set of
	// buckets and ctx does not accept that ([WithStale]).
	Snapshot(ctx context.Context, buckets ...string) (Snapshot, error)
}

// Snapshot is some buckets as they were at one moment. Later writes, expiry, compaction and
// the deletion of a bucket change nothing in it. Safe for concurrent use.
type Snapshot interface {
	// Buckets returns the names of the buckets, ascending. The slice is the caller's.
	Buckets() []string

	// Bucket returns what reads one of the buckets. ErrBucketNotFound if the snapshot does not
	// have it. The methods of the Reader return ErrSnapshotExpired once the snapshot has ended.
	Bucket(name string) (Reader, error)

	// Revision returns the newest revision that the bucket had; 0 if it had none, or if the
	// snapshot does not have the bucket.
	Revision(name string) Revision

	// Taken returns the moment by the store's clock. Keys whose deadline is later than
	// Taken exist in the snapshot, whenever they are read.
	Taken() time.Time

	// Release ends the snapshot. Sequences that are being read end with ErrSnapshotExpired.
	// A further Release does nothing.
	Release()
}

// Reader reads the values of a bucket. The Reader of a [Snapshot] reads one moment. A [Bucket]
// may be a Reader too, which [As] finds: then each call reads the moment at which it began.
//
// Values that are returned are the caller's. Errors name the bucket and the key, as those of a
// Bucket do. Safe for concurrent use.
type Reader interface {
	// Get returns the newest entry of key. ErrKeyNotFound if the key has no record, or its
	// newest is a marker or expired.
	Get(ctx context.Context, key string) (Entry, error)

	// GetMany yields the newest entry of each of the keys, at most GetManyMax, in their
	// order; a key that is given twice comes twice. An error that matches ErrKeyNotFound,
	// ErrInvalidKey or ErrCorrupt is about one key: it comes with an entry that has the Key
	// set, and those behind it follow. Any other error ends the sequence. The caller may not
	// change keys before the sequence ends.
	GetMany(ctx context.Context, keys []string) iter.Seq2[Entry, error]

	// Range yields the newest entries of a range of keys; see RangeOptions. An entry whose
	// record is damaged comes with an error that matches ErrCorrupt, its Key set and without
	// its value, and those behind it follow. Any other error ends the sequence.
	Range(ctx context.Context, o RangeOptions) iter.Seq2[Entry, error]

	// Count returns how many keys with a value match any of the patterns (none: all).
	Count(ctx context.Context, patterns ...string) (uint64, error)

	// Children yields what follows prefix in the keys that begin with it, up to the next
	// separator: the level of a tree. Each byte of separators is one, such as "." or "./".
	// They come in ascending order of the first key of each. limit bounds their number; 0
	// does not. The prefix of the root is empty, that of others ends with a separator. Where the
	// prefix itself is a key, or another separator follows it, that child has an empty Name.
	Children(ctx context.Context, prefix, separators string, limit int) iter.Seq2[Child, error]
}

const (
	// GetManyMax is how many keys one GetMany takes.
	GetManyMax = 4096
	// ChildKeysMax is up to where Children counts the keys below a child.
	ChildKeysMax = 1000
)

// RangeOptions select the entries of a [Reader.Range]. The zero value selects all values.
type RangeOptions struct {
	Patterns []string // keys match one of them; none: all keys

	// From and To bound the keys, in bytes: From is included, To is not. Empty: no bound. They
	// need not be valid keys. If From is not below To, the range is empty.
	From, To string

	// After is the last key of the page before: the range goes on behind it, in its
	// direction. Empty: it begins at its end. The key need not exist any more.
	After string

	Reverse  bool // descending order of keys
	KeysOnly bool // entries without Value and Headers; no record is read
	Markers  bool // also keys whose newest record is a marker

	Limit    int   // entries at most; 0: no limit
	MaxBytes int64 // bytes of keys, values and headers at most, but one entry at least; 0: no limit

	ChangedAfter Revision // only entries with a higher revision
}

// Validate returns an error matching ErrInvalidOption or ErrInvalidPattern, or nil.
func (o *RangeOptions) Validate() error {
	if o.Limit < 0 {
		return &LimitError{What: "limit", Got: int64(o.Limit), Err: ErrInvalidOption}
	}
	if o.MaxBytes < 0 {
		return &LimitError{What: "limit of bytes", Got: o.MaxBytes, Err: ErrInvalidOption}
	}
	for _, p := range o.Patterns {
		if err := CheckPattern(p); err != nil {
			return err
		}
	}
	return nil
}

// Child is one of [Reader.Children].
type Child struct {
	Name string // without the prefix and without a separator
	Key  bool   // prefix and Name together are a key with a value
	Keys int    // with a value that begin with prefix, Name and a separator; at most ChildKeysMax
	More bool   // there are more than Keys
}

// CheckGetMany returns an error matching ErrInvalidOption if the keys are more than GetManyMax, or nil.
func CheckGetMany(keys []string) error {
	if len(keys) > GetManyMax {
		return &LimitError{What: "number of keys", Got: int64(len(keys)), Max: GetManyMax, Err: ErrInvalidOption}
	}
	return nil
}

// CheckChildren returns an error matching ErrInvalidOption for arguments that Children refuses, or nil.
// A prefix over MaxKeySize is a mistake: no key is longer.
func CheckChildren(prefix, separators string, limit int) error {
	switch {
	case separators == "":
		return &LimitError{What: "number of separators", Min: 1, Err: ErrInvalidOption}
	case len(prefix) > MaxKeySize:
		return &LimitError{What: "size of the prefix", Got: int64(len(prefix)), Max: MaxKeySize, Err: ErrInvalidOption}
	case limit < 0:
		return &LimitError{What: "limit", Got: int64(limit), Err: ErrInvalidOption}
	}
	return nil
}
