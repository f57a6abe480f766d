package kv

import (
	"fmt"
	"time"
)

// Entry is one record of a key.
type Entry struct {
	Bucket    string
	Key       string
	Value     []byte // empty for a marker
	Revision  Revision
	Created   time.Time // the store's time of the write; never falls as revisions rise
	Delta     uint64    // entries that a watch or history still has to deliver; 0 from a get
	Operation Operation
	Reason    MarkerReason // of a marker; ReasonNone for a put
	Deadline  time.Time    // when the record expires by a TTL of its own; zero: it does not
	Headers   []byte       // opaque bytes that a front end stored with the record; nil: none
	Previous  Revision     // of the key's record before, where a watch sends this one as it is written; 0: none, or not known
}

// Operation is the kind of a record.
type Operation uint8

// The operations. The numbers are part of the on-disk format: never renumber.
const (
	Put    Operation = 1 // a value
	Delete Operation = 2 // a marker; the history stays
	Purge  Operation = 3 // a marker that also removes the history
)

// String returns the name that NATS' clients print: PUT, DEL or PURGE.
func (op Operation) String() string {
	switch op {
	case Put:
		return "PUT"
	case Delete:
		return "DEL"
	case Purge:
		return "PURGE"
	}
	return fmt.Sprintf("Operation(%d)", uint8(op))
}

// IsMarker reports whether the operation leaves the key without a value.
func (op Operation) IsMarker() bool { return op == Delete || op == Purge }

// MarkerReason says why a marker was written.
type MarkerReason uint8

// The reasons. The numbers are part of the on-disk format: never renumber.
const (
	ReasonNone   MarkerReason = 0 // not a marker
	ReasonClient MarkerReason = 1 // a client deleted or purged the key
	ReasonExpiry MarkerReason = 2 // the key expired
)

// String returns none, client or expiry.
func (r MarkerReason) String() string {
	switch r {
	case ReasonNone:
		return "none"
	case ReasonClient:
		return "client"
	case ReasonExpiry:
		return "expiry"
	}
	return fmt.Sprintf("MarkerReason(%d)", uint8(r))
}
