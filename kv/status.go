package kv

import "time"

// Status describes a bucket at one moment.
type Status struct {
	Config   Config // with defaults filled in
	ID       uint64 // of this life of the name; never used again
	Created  time.Time
	Keys     uint64   // keys whose newest record is a value
	Named    uint64   // keys with any record, a marker too; 0 for a store that does not tell
	Values   uint64   // records kept, markers included: what NATS calls values
	Bytes    uint64   // of the records kept, as encoded
	Disk     uint64   // bytes of the bucket's files; 0 for a store that does not tell
	Revision Revision // of the newest record, 0 before the first
	// Written is when the newest record was written, also if that record is no longer kept; after a
	// restart it may be an older one's. Zero where none is known, and for a store that
	// does not tell.
	Written time.Time
	// Digest is that of the records kept, as of Revision. Nil: it is not known while records that
	// have expired or were trimmed wait for their removal, or in a bucket that is in doubt or was
	// damaged; and for a store that does not tell.
	Digest *Digest
	// Doubt is the highest revision of which damage may have taken records, 0 for none:
	// [Doubt].Bound. It is the highest number there is for a bucket that is in doubt as a
	// whole.
	Doubt Revision
	// ClockLeap is the leap of the wall clock while the store was closed, if nobody
	// confirmed it and the bucket may have records that expired by it alone: they are
	// invisible, and are not removed yet. 0: there is none.
	ClockLeap time.Duration
	// Stale says that the store was told to serve the bucket as if nothing were in doubt.
	Stale    bool
	ReadOnly error // why the bucket takes no writes; nil if it does
}
