package watch

import (
	"context"

	"kvd/kv"
)

// Log is the bucket of a hub. Watchers read their initial entries from it, and
// watchers that are behind read later records from it. Its methods are called
// from any goroutine, without the hub's lock.
type Log interface {
	// Newest returns the newest revision that can be read.
	Newest() kv.Revision

	// Select finds the initial entries of a watch with revisions above after, and
	// not above upTo; an upTo of 0 means the newest revision. It returns at most max
	// entries, those with the lowest revisions. It pins nothing: a selected record
	// may be removed before it is loaded. It returns *kv.CompactedError if the end of
	// a key with a revision at or above Query.From, and above after, is forgotten at
	// the moment that the selection shows, and *kv.FutureRevisionError if Query.From is
	// above the revision that comes next.
	Select(ctx context.Context, q *Query, after, upTo kv.Revision, max int) (Selection, error)

	// CheckForgotten returns *kv.CompactedError if the end of a key at or above from
	// was forgotten after a selection. since is Forgotten of that selection.
	CheckForgotten(from kv.Revision, since uint64) error

	// Load reads the records of refs and calls fn for each, in order. The entry is
	// nil if the record was removed: either a newer record of its key exists, or the
	// key is forgotten. err is not nil if the record's value is damaged.
	Load(q *Query, refs []Ref, fn func(e *kv.Entry, valueSize int, err error)) error

	// Read calls fn for the matching records after p, in ascending order of revisions,
	// until fn returns false. The record for which fn returned false is not consumed.
	// Read moves p past the records that it has processed. One call may process many
	// records of which none matches, or only a few records. At the end of the log p
	// is the newest revision. Read returns *kv.CompactedError if it may have missed
	// the end of a key, possibly after calls of fn. It returns *kv.CorruptError if
	// whole records are lost by damage.
	Read(q *Query, p *Position, fn func(e *kv.Entry, valueSize int, err error) bool) error
}

// Query is what a watch asks for.
type Query struct {
	Patterns      []string // nil: every key
	From          kv.Revision
	Begin         Begin
	IgnoreDeletes bool
	MetaOnly      bool
	Stale         bool // the watch accepts what is in doubt: kv.WithStale
	PassForgotten bool // begin even if the end of a key at or above From is forgotten
	Round         int  // references of one selection at most; 0: as many as the budget allows
}

// Begin selects the initial entries of a watch.
type Begin uint8

// The values of Begin.
const (
	BeginLast    Begin = iota + 1 // the newest record of each key
	BeginHistory                  // every kept record
	BeginFrom                     // every kept record from Query.From on
	BeginNothing                  // no entries and no signal
)

// Selection is the result of Select.
type Selection struct {
	Refs  []Ref       // in ascending order of revisions
	Total int         // number of entries, including those that a newer record will replace
	More  bool        // there are more entries than Refs
	At    kv.Revision // the bucket's newest revision at that moment

	Forgotten uint64 // how often the bucket had forgotten ends of keys until then
}

// Ref identifies a record and its location at the time of the selection.
type Ref struct {
	Revision kv.Revision
	Offset   int64
	Segment  uint32
	Size     uint32
}

// Batch returns the first of the references, which are to be loaded together: as many as
// have 64 records, or 64 KiB and the first record.
func Batch(refs []Ref) []Ref {
	n, size := 0, 0
	for ; n < min(batchMax, len(refs)) && (n == 0 || size+int(refs[n].Size) <= batchBytes); n++ {
		size += int(refs[n].Size)
	}
	return refs[:n]
}

// Position is how far a watcher has read. Only Revision is binding; the other
// fields are hints for the log.
type Position struct {
	Revision kv.Revision
	Offset   int64
	Segment  uint32
	Placed   bool // Segment and Offset are the location of the next record
}
