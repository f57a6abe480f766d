package kv

import (
	"fmt"
	"time"
)

// WriteOption changes one write. Options are plain values; one that the
// operation has no use for is ErrInvalidOption.
type WriteOption struct {
	kind writeOptionKind
	rev  Revision
	ttl  time.Duration
}

type writeOptionKind uint8

const (
	optionLastRevision writeOptionKind = iota + 1
	optionKeyTTL
	optionPurgeTTL
)

// LastRevision makes a Delete or Purge succeed only if the newest record of the
// key, marker or not, has this revision; 0 means that no record exists. It
// fails as Update does.
func LastRevision(revision Revision) WriteOption {
	return WriteOption{kind: optionLastRevision, rev: revision}
}

// KeyTTL makes the written value, and with it the key and its history, expire after
// ttl, unless another write comes before. For Put, Create, Update and Touch.
func KeyTTL(ttl time.Duration) WriteOption { return WriteOption{kind: optionKeyTTL, ttl: ttl} }

// PurgeTTL removes a purge's marker after ttl. Without it the marker stays until
// PurgeDeletes or the bucket's TTL removes it.
func PurgeTTL(ttl time.Duration) WriteOption { return WriteOption{kind: optionPurgeTTL, ttl: ttl} }

// WriteOptions is a list of write options, resolved.
type WriteOptions struct {
	Last   Revision
	IfLast bool // Last was given
	TTL    time.Duration
}

// ResolveWrite checks the options of the operation op and merges them; of two
// of one kind the later counts. It returns an error matching ErrInvalidOption.
func ResolveWrite(op MutationOp, opts []WriteOption) (WriteOptions, error) {
	var w WriteOptions
	for _, o := range opts {
		switch {
		case o.kind == optionLastRevision && (op == MutateDelete || op == MutatePurge):
			w.Last, w.IfLast = o.rev, true
		case o.kind == optionKeyTTL && op != MutateDelete && op != MutatePurge,
			o.kind == optionPurgeTTL && op == MutatePurge:
			if o.ttl <= 0 {
				return w, &LimitError{What: "TTL", Got: int64(o.ttl), Min: 1, Duration: true, Err: ErrInvalidOption}
			}
			w.TTL = o.ttl
		default:
			return w, &optionError{op: op, kind: o.kind}
		}
	}
	return w, nil
}

// Apply sets in m what the options of its write ask for. It returns the errors of
// [ResolveWrite], and leaves m as it is then.
func (m *Mutation) Apply(opts []WriteOption) error {
	if len(opts) == 0 {
		return nil
	}
	o, err := ResolveWrite(m.Op, opts)
	if err != nil {
		return err
	}
	m.TTL = o.TTL
	if o.IfLast {
		m.Last, m.IfLast = o.Last, true
	}
	return nil
}

// optionError is an option that the operation has no use for.
type optionError struct {
	op   MutationOp
	kind writeOptionKind
}

func (e *optionError) Error() string {
	name := [...]string{"", "LastRevision", "KeyTTL", "PurgeTTL"}[e.kind]
	if name == "" {
		return fmt.Sprintf("%v: the zero WriteOption", ErrInvalidOption)
	}
	return fmt.Sprintf("%v: %s does not apply to %v", ErrInvalidOption, name, e.op)
}

func (e *optionError) Unwrap() error { return ErrInvalidOption }

// WatchOption changes one watch.
type WatchOption func(*WatchOptions)

// WatchOptions is a list of watch options, resolved.
type WatchOptions struct {
	IncludeHistory bool
	UpdatesOnly    bool
	IgnoreDeletes  bool
	MetaOnly       bool
	ResumeFrom     Revision // deliver everything from this revision on, that one included; 0: not a resume
	ResumeBucketID uint64   // fail with ErrBucketNotFound if the bucket has another id; 0: do not check
	PassForgotten  bool     // resume even where the end of a key was forgotten
	SelectAtMost   int      // entries that are selected at a time; 0: as many as the store allows
	Notify         func()   // the watch is for [Poller.Poll]; nil: for Updates or All
}

// IncludeHistory makes a watch begin with all kept entries instead of the newest.
func IncludeHistory() WatchOption { return func(o *WatchOptions) { o.IncludeHistory = true } }

// UpdatesOnly makes a watch begin with nothing: changes only, and no signal.
func UpdatesOnly() WatchOption { return func(o *WatchOptions) { o.UpdatesOnly = true } }

// IgnoreDeletes keeps markers out of a watch.
func IgnoreDeletes() WatchOption { return func(o *WatchOptions) { o.IgnoreDeletes = true } }

// MetaOnly leaves the values out.
func MetaOnly() WatchOption { return func(o *WatchOptions) { o.MetaOnly = true } }

// ResumeFromRevision makes a watch begin with revision and everything after it. It
// is refused with a [CompactedError] if the end of a key in that range is no longer kept,
// or if a crash took revisions below it that a bucket with SyncInterval or in memory had
// acknowledged. It is refused with a [FutureRevisionError] if revision is above the one
// that the bucket issues next.
func ResumeFromRevision(revision Revision) WatchOption {
	return func(o *WatchOptions) { o.ResumeFrom = revision }
}

// ResumeBucketID makes a resumed watch fail if the bucket is another one of the
// same name: [Status] tells the id.
func ResumeBucketID(id uint64) WatchOption {
	return func(o *WatchOptions) { o.ResumeBucketID = id }
}
