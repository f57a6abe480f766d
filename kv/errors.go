package kv

import (
	"errors"
	"fmt"
	"strconv"
	"time"
)

// What a caller did wrong, or lost a race for.
var (
	ErrBucketNotFound      = errors.New("bucket not found")
	ErrBucketExists        = errors.New("bucket exists with another configuration")
	ErrKeyNotFound         = errors.New("key not found")
	ErrKeyExists           = errors.New("key exists")
	ErrKeyRevisionMismatch = errors.New("key revision mismatch")
	ErrInvalidBucketName   = errors.New("invalid bucket name")
	ErrInvalidKey          = errors.New("invalid key")
	ErrInvalidPattern      = errors.New("invalid pattern")
	ErrInvalidConfig       = errors.New("invalid configuration")
	ErrInvalidOption       = errors.New("invalid option")
	ErrHistoryTooLarge     = errors.New("history is limited to 64 revisions per key")
	ErrValueTooLarge       = errors.New("value too large")
	ErrBucketFull          = errors.New("bucket is at its size limit")
	// ErrInvalidRecord refuses a record that no bucket would write; see Importer.
	ErrInvalidRecord = errors.New("invalid record")
	// ErrDigestMismatch is matched by every *DigestError.
	ErrDigestMismatch = errors.New("digest differs")
	// ErrInvalidTxn refuses a transaction that breaks the rules of Txn.
	ErrInvalidTxn = errors.New("invalid transaction")
	// ErrTxnTooLarge refuses a transaction that is above a limit; nothing was written.
	ErrTxnTooLarge = errors.New("transaction too large")
	// ErrContended is returned where others wrote a key again and again while its value was
	// compared. Nothing was written, and the call may be tried again.
	ErrContended = errors.New("too many concurrent writes")
	// ErrNotSupported is returned for a request that a store cannot carry out; the text
	// names it.
	ErrNotSupported = errors.New("not supported")
	// ErrCompacted ends a watch that asked for revisions which are no longer kept.
	ErrCompacted = errors.New("revisions are compacted")
	// ErrFutureRevision refuses to resume a watch behind revisions that the bucket never
	// issued.
	ErrFutureRevision = errors.New("revision was never issued")
	// ErrSnapshotExpired is returned by reads of a snapshot that was released, or that the store
	// ended.
	ErrSnapshotExpired = errors.New("snapshot has ended")
	// ErrTooManySnapshots refuses a further snapshot.
	ErrTooManySnapshots = errors.New("too many open snapshots")
	// ErrWatchStopped is what Poller.Poll returns after Stop.
	ErrWatchStopped = errors.New("watch was stopped")
)

// What state the store is in.
var (
	// ErrClosed is returned by everything after Close.
	ErrClosed = errors.New("store is closed")
	// ErrReadOnly is returned by writes to a store or bucket that takes none,
	// wrapped with the reason. Reads go on.
	ErrReadOnly = errors.New("read-only")
	// ErrOutcomeUnknown is returned by a write that failed on its way to the disk:
	// it may be found after a restart or not. The store is read-only from then on.
	ErrOutcomeUnknown = errors.New("outcome of the write is unknown")
	// ErrNoSpace is returned by a write that the disk has no room for. Nothing was
	// written; deletes and reads go on, and writes do when there is room again.
	ErrNoSpace = errors.New("no space left")
	// ErrTooManyFiles is returned where a file cannot be opened because the process, or the
	// system, may not have more of them open. Nothing was written, and the call may be
	// tried again.
	ErrTooManyFiles = errors.New("too many open files")
	// ErrLocked is returned by opening a store that another process has open.
	ErrLocked = errors.New("store is in use")
	// ErrNotStore is returned by opening a directory or file that is no store.
	ErrNotStore = errors.New("not a kvd store")
	// ErrVersion is returned by opening a store of a newer format.
	ErrVersion = errors.New("unknown format version")
	// ErrCorrupt is matched by every *CorruptError.
	ErrCorrupt = errors.New("corrupt")
)

// RevisionMismatchError is a write refused because the newest record of the key, or
// of the whole bucket, was another than expected. It matches ErrKeyExists from Create
// and ErrKeyRevisionMismatch from everything else.
type RevisionMismatchError struct {
	Bucket string
	Key    string   // empty: Want and Got are about the whole bucket, by Mutation.IfNewest
	Want   Revision // expected; 0: that there is none
	Got    Revision // the newest record; 0: there is none
	Create bool     // refused by Create
}

func (e *RevisionMismatchError) Error() string {
	switch {
	case e.Create:
		return fmt.Sprintf("%v: %q in bucket %q is at revision %d", ErrKeyExists, e.Key, e.Bucket, e.Got)
	case e.Key == "":
		return fmt.Sprintf("%v: bucket %q is at revision %d, expected %d", ErrKeyRevisionMismatch, e.Bucket, e.Got, e.Want)
	}
	return fmt.Sprintf("%v: %q in bucket %q is at revision %d, expected %d",
		ErrKeyRevisionMismatch, e.Key, e.Bucket, e.Got, e.Want)
}

// Is matches ErrKeyExists or ErrKeyRevisionMismatch.
func (e *RevisionMismatchError) Is(target error) bool {
	if e.Create {
		return target == ErrKeyExists
	}
	return target == ErrKeyRevisionMismatch
}

// NameError is a name that breaks the rules of its kind, and where. It matches
// ErrInvalidBucketName, ErrInvalidKey or ErrInvalidPattern.
type NameError struct {
	Name   string // the name given, cut to 64 bytes
	Offset int    // of the offending byte in the whole name; -1: the name as such
	Reason string
	Err    error // which kind of name
}

func (e *NameError) Error() string {
	if e.Offset < 0 {
		return fmt.Sprintf("%v %q: %s", e.Err, e.Name, e.Reason)
	}
	return fmt.Sprintf("%v %q: %s at byte %d", e.Err, e.Name, e.Reason, e.Offset)
}

// Unwrap returns the kind of name.
func (e *NameError) Unwrap() error { return e.Err }

// LimitError is a value outside its limits. It matches the sentinel in Err:
// ErrInvalidConfig, ErrHistoryTooLarge, ErrValueTooLarge, ErrBucketFull, ErrInvalidOption
// or ErrTxnTooLarge.
type LimitError struct {
	What     string
	Got      int64
	Min, Max int64 // inclusive; Max 0: there is none
	Duration bool  // Got, Min and Max are time.Durations
	Err      error
}

func (e *LimitError) Error() string {
	if e.Max == 0 {
		return fmt.Sprintf("%v: %s is %s, must be at least %s", e.Err, e.What, e.text(e.Got), e.text(e.Min))
	}
	return fmt.Sprintf("%v: %s is %s, must be %s to %s", e.Err, e.What, e.text(e.Got), e.text(e.Min), e.text(e.Max))
}

func (e *LimitError) text(n int64) string {
	if e.Duration {
		return time.Duration(n).String()
	}
	return strconv.FormatInt(n, 10)
}

// Unwrap returns the sentinel.
func (e *LimitError) Unwrap() error { return e.Err }

// CompactedError ends a watch because the last record of a key may be among revisions
// that are no longer kept: without the error a client would believe that the key exists.
// It also refuses to resume a watch at a revision that a crash took. The client should
// then drop its copy of the data and begin a new watch. It matches ErrCompacted.
type CompactedError struct {
	Bucket string
	Wanted Revision // the next that the watch had to look at
	First  Revision // the first from which on nothing is missing: resume there, or watch anew
}

func (e *CompactedError) Error() string {
	return fmt.Sprintf("%v: bucket %q has everything from revision %d on, not from %d", ErrCompacted, e.Bucket, e.First, e.Wanted)
}

// Is matches ErrCompacted.
func (e *CompactedError) Is(target error) bool { return target == ErrCompacted }

// FutureRevisionError refuses to resume a watch at a revision above the one that comes
// next. Another store told the client of the revisions before it: this one is an older copy
// of that store, or has nothing to do with it. The client should then drop its copy of the
// data and begin a new watch. It matches ErrFutureRevision.
type FutureRevisionError struct {
	Bucket string
	Wanted Revision // where the watch was to resume
	Newest Revision // the newest that the bucket issued; 0: none
}

func (e *FutureRevisionError) Error() string {
	return fmt.Sprintf("%v: bucket %q is at revision %d and cannot resume from %d: the store is an older copy of the one that was watched, or another store; begin a new watch",
		ErrFutureRevision, e.Bucket, e.Newest, e.Wanted)
}

// Is matches ErrFutureRevision.
func (e *FutureRevisionError) Is(target error) bool { return target == ErrFutureRevision }

// CorruptError is damage to stored bytes, and where. It matches ErrCorrupt.
type CorruptError struct {
	File   string
	Offset int64  // bytes from the start of File; -1: the file as a whole
	Detail string // the damage, and the bucket, key, revision or LSN range that it hit
	Err    error  // the cause, if the system reported one

	// Where records are missing, and nobody knows of which keys: those of this bucket
	// above the revision After and up to UpTo. UpTo is 0 otherwise.
	// UpTo is the highest number there is for a bucket that is in doubt as a whole.
	Bucket      string
	After, UpTo Revision
}

// Error returns the damage, and for missing records the ways out.
func (e *CorruptError) Error() string {
	s := fmt.Sprintf("%v: %s", ErrCorrupt, e.File)
	if e.Offset >= 0 {
		s += fmt.Sprintf(" at offset %d", e.Offset)
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.UpTo != 0 {
		s += ". " + e.waysOut()
	}
	return s
}

// waysOut says what still works in a bucket of which records are missing, and what an
// operator can do.
func (e *CorruptError) waysOut() string {
	works := "Newer records are served, and writes without a condition are taken. "
	if e.UpTo == doubtAll {
		works = ""
	}
	return works + fmt.Sprintf("Ways out: a backup; kvd repair, which copies what is sound; reads that accept an old value (--stale, kv.WithStale, "+
		"kvd serve --serve-stale %s); kvd accept %[1]s gives up what is missing, and kvd lost %[1]s lists it", e.Bucket)
}

// doubtAll is the bound of a bucket that is in doubt as a whole.
const doubtAll = Revision(1<<64 - 1)

// Is matches ErrCorrupt.
func (e *CorruptError) Is(target error) bool { return target == ErrCorrupt }

// Unwrap returns the cause.
func (e *CorruptError) Unwrap() error { return e.Err }
