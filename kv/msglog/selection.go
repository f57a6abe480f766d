package msglog

import (
	"errors"

	"kvd/kv"
)

// ErrTooMany is the error of [Log.Select] for more records than the query allows.
var ErrTooMany = errors.New("msglog: too many records are selected")

// Query is what [Log.Select] finds: of each key that matches any of the patterns, the
// newest record, marker or not, whose revision is not above UpTo. A key whose newest
// record of all has expired has none.
type Query struct {
	Patterns []string
	UpTo     kv.Revision // 0: the bucket's newest revision at that moment
	Max      int         // records at most, above 0

	// Appended makes the patterns select what [Append] was given in place of keys: so the
	// newest message of each subject is found. Records that Append did not make are left out.
	Appended bool
}

// Selection holds references to the records that [Log.Select] has found, 24 bytes each, and
// nothing of the store. One goroutine at a time may use it.
type Selection interface {
	// At returns the revision as of which the records were selected: UpTo if that was set.
	At() kv.Revision

	// Len returns how many records are still to be read.
	Len() int

	// Skip passes the records below a revision.
	Skip(below kv.Revision)

	// Read calls fn for the next records, ascending, at most 64 of them, or 64 KiB and a
	// record. The entries are the caller's. A record is still read after a newer one of
	// its key was written, until compaction removes it: then the error is
	// kv.ErrKeyNotFound. It is *kv.CorruptError if a record is damaged. The record of an
	// error counts as read.
	Read(fn func(*kv.Entry)) error
}
