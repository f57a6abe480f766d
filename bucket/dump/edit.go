package dump

import (
	"encoding/json"

	"kvd/bucket/manifest"
	"kvd/kv"
	"kvd/wal"
)

// Edit is a record of the manifest.
type Edit struct {
	LogLow         wal.LSN  `json:"log_position,omitempty"`
	LogWords       *Words   `json:"log_words,omitempty"`
	Clock          int64    `json:"clock,omitempty"` // Unix time in ns
	Numbers        uint64   `json:"file_numbers,omitempty"`
	MaxBucketID    uint64   `json:"highest_bucket,omitempty"`
	Clean          bool     `json:"clean,omitempty"`
	ValueFiles     bool     `json:"value_files,omitempty"`
	LostOperations *uint64  `json:"lost_operations,omitempty"`
	Deleted        []uint64 `json:"deleted,omitempty"` // ids of buckets
	Buckets        []Bucket `json:"buckets,omitempty"`
}

// Bucket is what an edit says of a bucket.
type Bucket struct {
	ID       uint64          `json:"id"`
	Life     uint64          `json:"life"`
	Name     string          `json:"name"`
	Created  int64           `json:"created"` // Unix time in ns
	Position wal.LSN         `json:"position"`
	Next     kv.Revision     `json:"next"` // revision
	Keys     uint64          `json:"keys"`
	Rules    Rules           `json:"rules"`
	Doubt    *Doubt          `json:"doubt,omitempty"`
	Digest   string          `json:"digest,omitempty"` // of the live records, as of Position; empty: not known
	Hidden   bool            `json:"hidden,omitempty"` // it is being imported
	Config   json.RawMessage `json:"config"`
	Segments []Segment       `json:"segments"`
}

// Rules are the rules of liveness of a bucket; see package manifest.
type Rules struct {
	ExpiredUpTo        kv.Revision `json:"expired_up_to,omitempty"`
	PurgedDeletesUpTo  kv.Revision `json:"purged_deletes_up_to,omitempty"`
	ForgottenMarkers   kv.Revision `json:"forgotten_markers_up_to,omitempty"`
	MarkersExpiredUpTo int64       `json:"markers_expired_up_to,omitempty"` // Unix time in ns
	UnmarkedUpTo       kv.Revision `json:"unmarked_up_to,omitempty"`
	Cuts               []Cut       `json:"cuts,omitempty"`
}

// Cut is a shorter history.
type Cut struct {
	UpTo kv.Revision `json:"up_to"`
	Keep int         `json:"keep"`
}

// Doubt is what damage took from a bucket; see package manifest.
type Doubt struct {
	Bound    kv.Revision `json:"bound,omitempty"`
	Unknown  bool        `json:"unknown,omitempty"`
	Holes    []Hole      `json:"holes,omitempty"`
	Accepted []Hole      `json:"accepted,omitempty"`
	Lost     []Lost      `json:"lost,omitempty"`
}

// Hole is a range of revisions of which records are missing.
type Hole struct {
	After   kv.Revision `json:"after"`
	UpTo    kv.Revision `json:"up_to"`
	Records uint64      `json:"records,omitempty"`
	File    string      `json:"file"`
	Offset  int64       `json:"offset"`
}

// Lost is a record whose value is lost.
type Lost struct {
	Revision kv.Revision `json:"revision"`
	Key      string      `json:"key"`
}

// Segment is what an edit says of a segment.
type Segment struct {
	Number      uint64      `json:"number"`
	Size        int64       `json:"size"`
	LastIndex   int64       `json:"last_index"`
	Limit       int64       `json:"limit"`
	Sealed      bool        `json:"sealed"`
	Records     uint64      `json:"records"`
	Sum         Hex         `json:"sum"`
	First       kv.Revision `json:"first"`
	Last        kv.Revision `json:"last"`
	RemovedUpTo kv.Revision `json:"removed_up_to,omitempty"`
}

// newEdit returns the edit with the buckets that are asked for.
func newEdit(e *manifest.Edit, wanted func(name string) bool) *Edit {
	told := &Edit{
		LogLow: e.LogLow, Clock: e.Clock, Numbers: e.Numbers, MaxBucketID: e.MaxBucketID, Clean: e.Clean,
		ValueFiles: e.ValueFiles, LostOperations: e.LostOperations, Deleted: e.Deleted,
	}
	if e.LogWords != (wal.Words{}) {
		told.LogWords = newWords(e.LogWords)
	}
	for _, b := range e.Buckets {
		if !wanted(b.Config.Bucket) {
			continue
		}
		own := Bucket{
			ID: b.ID, Life: b.Life, Name: b.Config.Bucket, Created: b.Created, Position: b.Position, Next: b.Next, Keys: b.Keys,
			Rules: newRules(&b.Live), Doubt: newDoubt(&b.Doubt), Config: manifest.EncodeConfig(b.Config), Segments: []Segment{}, Hidden: b.Hidden,
		}
		if b.Digest != nil {
			own.Digest = b.Digest.String()
		}
		for i := range b.Segments {
			s := &b.Segments[i]
			own.Segments = append(own.Segments, Segment{
				s.Number, s.Size, s.LastIndex, s.Limit, s.Sealed, s.Records, Hex(s.Sum), s.First, s.Last, s.RemovedUpTo,
			})
		}
		told.Buckets = append(told.Buckets, own)
	}
	return told
}

func newRules(l *manifest.Liveness) Rules {
	r := Rules{
		ExpiredUpTo: l.ExpiredUpTo, PurgedDeletesUpTo: l.PurgedDeletes.UpTo, ForgottenMarkers: l.PurgedDeletes.MarkersUpTo,
		MarkersExpiredUpTo: l.MarkersExpiredUpTo, UnmarkedUpTo: l.UnmarkedUpTo,
	}
	for _, c := range l.Cuts {
		r.Cuts = append(r.Cuts, Cut(c))
	}
	return r
}

// newDoubt returns nil for no doubt.
func newDoubt(d *manifest.Doubt) *Doubt {
	if d.None() {
		return nil
	}
	told := &Doubt{Bound: d.Bound, Unknown: d.Unknown}
	for _, h := range d.Holes {
		told.Holes = append(told.Holes, Hole(h))
	}
	for _, h := range d.Accepted {
		told.Accepted = append(told.Accepted, Hole(h))
	}
	for _, l := range d.Lost {
		told.Lost = append(told.Lost, Lost(l))
	}
	return told
}
