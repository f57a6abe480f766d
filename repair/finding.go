package repair

import (
	"time"

	"kvd/kv"
)

// Finding is a line of a report.
type Finding struct {
	Kind   Kind   `json:"kind"`
	Bucket string `json:"bucket,omitempty"`

	// Of a record.
	Key       string      `json:"key,omitempty"`
	Revision  kv.Revision `json:"revision,omitempty"`
	Operation string      `json:"operation,omitempty"`
	Created   *time.Time  `json:"created,omitempty"`
	Newest    bool        `json:"newest,omitempty"` // no newer record of the key is known

	// Of records whose keys nobody knows.
	After   kv.Revision `json:"after,omitempty"` // the missing records have revisions above After
	UpTo    kv.Revision `json:"up_to,omitempty"` // and not above UpTo
	Records uint64      `json:"records,omitempty"`

	File   string `json:"file,omitempty"` // that is damaged
	Offset *int64 `json:"offset,omitempty"`
	Text   string `json:"text,omitempty"`

	Summary *BucketReport `json:"summary,omitempty"`
}

// Kind is the kind of a Finding.
type Kind string

// The kinds.
const (
	KindDamage  Kind = "damage"   // a place in a file
	KindNote    Kind = "note"     // a remark
	KindLost    Kind = "lost"     // a record whose value is lost
	KindLeftOut Kind = "left_out" // a key, or a bucket, that the new store does not have
	KindMissing Kind = "missing"  // records whose keys nobody knows
	KindAtRisk  Kind = "at_risk"  // a key whose newest known record may not be its newest
	KindBucket  Kind = "bucket"   // the summary of a bucket
)

// BucketReport is what became of a bucket.
type BucketReport struct {
	Name    string      `json:"name"`
	Records uint64      `json:"records"`           // that were recovered
	Keys    uint64      `json:"keys"`              // of which a record was recovered
	Next    kv.Revision `json:"next"`              // revision of the damaged bucket
	Lost    uint64      `json:"lost"`              // records whose values are lost
	LeftOut uint64      `json:"left_out"`          // keys that are left out because of that
	Missing uint64      `json:"missing"`           // records whose keys nobody knows
	Unsure  bool        `json:"unsure"`            // the number Missing is not exact
	AtRisk  uint64      `json:"at_risk"`           // keys
	Skipped string      `json:"skipped,omitempty"` // why the bucket is left out; empty: it is not
}

// Sound reports whether nothing of the bucket is lost, left out or at risk.
func (b *BucketReport) Sound() bool {
	return b.Lost == 0 && b.LeftOut == 0 && b.Missing == 0 && !b.Unsure && b.AtRisk == 0 && b.Skipped == ""
}

// Report is the result of a repair.
type Report struct {
	Buckets []BucketReport
	Damages int  // places that recovery has found
	Rebuilt bool // the manifest was lost, and made from the segments and the log
	// MissingChanges is how many changes of buckets as a whole are missing: buckets may be
	// missing, and deleted ones may be back.
	MissingChanges uint64
	LostPages      int // that the disk did not give back
}

// Sound reports whether nothing is lost, left out or at risk.
func (r *Report) Sound() bool {
	for i := range r.Buckets {
		if !r.Buckets[i].Sound() {
			return false
		}
	}
	return r.MissingChanges == 0 && !r.Rebuilt
}
