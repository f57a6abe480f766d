package watch

import (
	"context"

	"kvd/kv"
)

// Log is the bucket behind a hub: what its watchers begin with, and what those
// read that have fallen behind. Its methods are called without the hub's lock,
// from any goroutine.
type Log interface {
	// Newest returns the newest revision that can be read.
	Newest() kv.Revision

	// Select finds the initial entries of a watch with revisions above after, and
	// up to upTo; 0 is the newest. It returns the lowest max of them. It pins
	// nothing: what is selected may be gone when it is to be loaded. It returns
	// *kv.CompactedError where the end of a key from Query.From on, and above after,
	// was forgotten by the moment that the selection shows.
	Select(ctx context.Context, q *Query, after, upTo kv.Revision, max int) (Selection, error)

	// CheckForgotten returns *kv.CompactedError if the end of a key at or above from
	// was forgotten since a selection, whose Forgotten is since.
	CheckForgotten(from kv.Revision, since uint64) error

	// Load reads the records of refs and calls fn for each, in order. The entry is
	// nil where the record is gone: a newer one of its key stands for it, or the key
	// was forgotten. err is what is wrong with a record's value.
	Load(q *Query, refs []Ref, fn func(e *kv.Entry, valueSize int, err error)) error

	// Read calls fn for the records that match, in ascending order of revisions,
	// from behind p on, until fn returns false: it does not take the record. It
	// moves p behind what it has looked at, which may be much and match nothing, or
	// little; once there is nothing more, p is at the newest revision. It returns
	// *kv.CompactedError if it may have missed the end of a key, also after it has
	// called fn, and *kv.CorruptError where damage has taken whole records.
	Read(q *Query, p *Position, fn func(e *kv.Entry, valueSize int, err error) bool) error
}

// Query says what a watch wants.
type Query struct {
	Patterns      []string // none: every key
	From          kv.Revision
	Begin         Begin
	IgnoreDeletes bool
	MetaOnly      bool
	PassForgotten bool // begin even where the end of a key at or above From was forgotten
}

// Begin says what the initial entries of a watch are.
type Begin uint8

// The beginnings.
const (
	BeginLast    Begin = iota + 1 // the newest record of each key
	BeginHistory                  // every kept record
	BeginFrom                     // every kept record from Query.From on
	BeginNothing                  // nothing, and no signal
)

// Selection is what Select found.
type Selection struct {
	Refs  []Ref       // in ascending order of revisions
	Total int         // how many there are, those among them that a newer record will stand for
	More  bool        // there are more than Refs
	At    kv.Revision // the bucket's newest revision then

	Forgotten uint64 // how often the bucket had forgotten ends of keys by then
}

// Ref names a record and says where it was when it was selected.
type Ref struct {
	Revision kv.Revision
	Offset   int64
	Segment  uint32
	Size     uint32
}

// Position is how far a watcher has read. Everything but Revision is a hint of the
// log's.
type Position struct {
	Revision kv.Revision
	Offset   int64
	Segment  uint32
	Placed   bool // Segment and Offset say where the next record is
}
