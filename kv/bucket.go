package kv

import (
	"context"
	"iter"
	"time"
)

// Bucket is one named set of keys. All methods are safe for concurrent use.
//
// The errors of a method that takes a key name the bucket and the key: they are a
// *[KeyError] or a *[RevisionMismatchError]. Those of the other methods name the bucket.
// Only [ErrClosed], [ErrBucketNotFound] and the errors of a context have no key, and
// GetAppend returns the bare ErrKeyNotFound. Every method that takes a key returns an
// error that matches [ErrInvalidKey], with a *[NameError], for a key outside the rules of
// [CheckKey].
//
// Once a write has been taken into a commit its context no longer counts: the
// call waits for the outcome. Values passed in are the callee's until the call
// returns; values returned are the caller's.
//
// A handle of a bucket that was deleted returns ErrBucketNotFound from then on,
// also when a bucket of the same name is made again.
type Bucket interface {
	// Name returns the bucket's name.
	Name() string

	// Get returns the newest entry of key. ErrKeyNotFound if the key has no
	// record, or its newest is a marker or expired.
	Get(ctx context.Context, key string) (Entry, error)

	// GetRevision returns the entry of key at exactly that revision, as long as
	// the history keeps it. ErrKeyNotFound if the revision is not of this key, is
	// no longer kept, or is a marker.
	GetRevision(ctx context.Context, key string, revision Revision) (Entry, error)

	// GetAppend is Get that appends the value to dst and returns the extended
	// slice; the entry's Value is its tail. It may use dst's capacity beyond the
	// value as scratch, and does not allocate where that suffices: the value's
	// length, the key's, and 128 bytes. On an error dst comes back as it was. Where
	// Get's error names a key that was not found, that of GetAppend is ErrKeyNotFound
	// itself, so that a read that finds nothing does not allocate either.
	GetAppend(ctx context.Context, dst []byte, key string) ([]byte, Entry, error)

	// Put writes value as the newest of key and returns its revision.
	Put(ctx context.Context, key string, value []byte, opts ...WriteOption) (Revision, error)

	// PutString is Put of a string.
	PutString(ctx context.Context, key, value string, opts ...WriteOption) (Revision, error)

	// Create is Put if the key is absent: it has no record, or its newest is a
	// marker or expired. Otherwise it returns ErrKeyExists, as a
	// *[RevisionMismatchError]. The check and the write are one step.
	Create(ctx context.Context, key string, value []byte, opts ...WriteOption) (Revision, error)

	// Update is Put if the newest record of key, marker or not, has the revision
	// last; 0 means that no record of the key exists. Otherwise it returns
	// ErrKeyRevisionMismatch, as a *[RevisionMismatchError].
	Update(ctx context.Context, key string, value []byte, last Revision, opts ...WriteOption) (Revision, error)

	// Touch writes the newest value of key again, with a new revision and the
	// TTL in opts (none: the bucket's alone). ErrKeyNotFound as for Get.
	Touch(ctx context.Context, key string, opts ...WriteOption) (Revision, error)

	// Delete writes a delete marker for key and keeps its history; it returns the
	// marker's revision. Deleting a key that does not exist succeeds and writes a
	// marker.
	Delete(ctx context.Context, key string, opts ...WriteOption) (Revision, error)

	// Purge is Delete that also drops the key's history. With a TTL the marker
	// itself is removed after that time.
	Purge(ctx context.Context, key string, opts ...WriteOption) (Revision, error)

	// History yields the kept entries of key, markers included, oldest first;
	// Delta counts those still to come. ErrKeyNotFound if there is none.
	History(ctx context.Context, key string) iter.Seq2[Entry, error]

	// Keys yields the keys that match any of the patterns (none: all) in
	// ascending byte order, as they were at one revision: keys whose newest
	// record is a value, neither marker nor expired. It reads no values.
	Keys(ctx context.Context, patterns ...string) iter.Seq2[string, error]

	// All yields the newest entries of the keys that match any of the patterns (none:
	// all) in ascending byte order of the keys: those whose newest record is a value,
	// neither marker nor expired. Delta is 0. An entry whose record is damaged comes
	// with an error that matches ErrCorrupt, its Key set and without its value, and
	// those behind it follow; any other error ends the sequence.
	//
	// An embedded store yields the entries as they were at one revision, and keeps
	// the records that are replaced meanwhile until the sequence ends. A store over a
	// network may list the keys and then read them: a key that is deleted or expires
	// in between is left out, and one that is written comes with its newer value.
	All(ctx context.Context, patterns ...string) iter.Seq2[Entry, error]

	// PurgeDeletes drops the history behind every delete and purge marker, and
	// the markers themselves that are older than olderThan: 0 is 30 minutes, a
	// negative duration drops them whatever their age.
	PurgeDeletes(ctx context.Context, olderThan time.Duration) error

	// Watch sends the entries of all keys that match any of the patterns (none:
	// all): first the newest of each, then every change as it happens.
	Watch(ctx context.Context, patterns []string, opts ...WatchOption) (Watcher, error)

	// Status describes the bucket.
	Status(ctx context.Context) (Status, error)
}

// DefaultMarkerAge is how old a marker must be for PurgeDeletes with no
// threshold of its own to drop it. NATS' clients have the same default.
const DefaultMarkerAge = 30 * time.Minute

// Watcher delivers the events of one [Bucket.Watch].
type Watcher interface {
	// Updates returns the channel of events. The end of the initial entries is
	// an Update whose Entry is nil; it comes also when nothing matched, but not
	// in updates-only mode. The channel is closed when the watch ended.
	Updates() <-chan Update

	// All yields the same events. Use either All or Updates. An error ends it.
	All() iter.Seq2[Update, error]

	// Err says why the watch ended: nil after Stop, the context's error,
	// ErrCompacted, ErrFutureRevision, or the store's.
	Err() error

	// Stop ends the watch and releases its resources.
	Stop() error
}

// Update is one event of a watch: an entry, or the end of the initial ones.
type Update struct {
	// Entry is nil where every initial entry has been delivered. Watchers may share
	// it: nobody may write to it or its slices.
	Entry *Entry
	// ValueSize is the value's length in bytes, also where MetaOnly leaves it out. 0
	// if the store does not know it.
	ValueSize int
	// Err is why the value could not be read, where its record is damaged: Entry then
	// has everything but the value, and the watch goes on.
	Err error
}
