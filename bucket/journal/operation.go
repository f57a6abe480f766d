package journal

import (
	"encoding/binary"
	"fmt"

	"kvd/bucket/manifest"
	"kvd/kv"
)

// Operation is a change of a bucket as a whole: a pointer to one of the structs of
// this package.
type Operation interface {
	// BucketID returns the id of the bucket that it changes, or makes.
	BucketID() uint64

	fields() fields
}

// Create makes a bucket.
type Create struct {
	Bucket  uint64 // its id
	Created int64  // Unix time in ns
	Life    uint64 // what clients see as its id: manifest.Bucket.Life
	Config  kv.Config
	Hidden  bool // an import begins: the bucket is visible once it is revealed
}

// Edit replaces a bucket's configuration.
type Edit struct {
	Bucket uint64 // id
	Config kv.Config
	Cut    manifest.Cut // made by a shorter history; the zero value is none
}

// Delete deletes a bucket.
type Delete struct {
	Bucket uint64 // id
}

// PurgeDeletes is a rule of liveness.
type PurgeDeletes struct {
	Bucket uint64 // id
	Rule   manifest.PurgeDeletes
}

// Expire says how far expiry by the bucket's TTL, or trimming, has come. The fields
// are those of manifest.Liveness.
type Expire struct {
	Bucket                    uint64 // id
	ExpiredUpTo, UnmarkedUpTo kv.Revision
}

// ExpireMarkers says up to which deadline purge markers expired. The fields are those
// of manifest.Liveness.
type ExpireMarkers struct {
	Bucket             uint64 // id
	MarkersExpiredUpTo int64  // Unix time in ns
	UnmarkedUpTo       kv.Revision
}

// Accept ends the doubt about a bucket's records (manifest.Doubt).
type Accept struct {
	Bucket uint64      // id
	UpTo   kv.Revision // of the bounds that it accepts
}

// Issue says that revisions of a bucket in memory up to UpTo may be issued. It is logged
// before the first of them is. The records of such a bucket are not logged, so nothing else
// in the log has their revisions.
type Issue struct {
	Bucket uint64 // id
	UpTo   kv.Revision
}

// Reveal commits the import of a hidden bucket.
type Reveal struct {
	Bucket uint64      // id
	Last   kv.Revision // of the imported records; 0: there are none
	Next   kv.Revision // of the first record that is written to the bucket
}

// BucketID implements Operation.
func (o *Create) BucketID() uint64 { return o.Bucket }

// BucketID implements Operation.
func (o *Edit) BucketID() uint64 { return o.Bucket }

// BucketID implements Operation.
func (o *Delete) BucketID() uint64 { return o.Bucket }

// BucketID implements Operation.
func (o *PurgeDeletes) BucketID() uint64 { return o.Bucket }

// BucketID implements Operation.
func (o *Expire) BucketID() uint64 { return o.Bucket }

// BucketID implements Operation.
func (o *ExpireMarkers) BucketID() uint64 { return o.Bucket }

// BucketID implements Operation.
func (o *Accept) BucketID() uint64 { return o.Bucket }

// BucketID implements Operation.
func (o *Issue) BucketID() uint64 { return o.Bucket }

// BucketID implements Operation.
func (o *Reveal) BucketID() uint64 { return o.Bucket }

// Cuts reports whether the edit shortens the bucket's history.
func (o *Edit) Cuts() bool { return o.Cut.Keep != 0 }

// operationSize is the size in bytes of an operation without a configuration.
const operationSize = 24

// fields is an operation as it stands on the disk.
type fields struct {
	kind          Kind
	bucket        uint64
	first, second uint64
	config        *kv.Config // nil: the kind has none
}

func (o *Create) fields() fields {
	kind := kindCreate
	if o.Hidden {
		kind = kindCreateHidden
	}
	return fields{kind, o.Bucket, uint64(o.Created), o.Life, &o.Config}
}

func (o *Edit) fields() fields {
	return fields{kindEdit, o.Bucket, uint64(o.Cut.UpTo), uint64(o.Cut.Keep), &o.Config}
}

func (o *Delete) fields() fields { return fields{kindDelete, o.Bucket, 0, 0, nil} }

func (o *PurgeDeletes) fields() fields {
	return fields{kindPurgeDeletes, o.Bucket, uint64(o.Rule.UpTo), uint64(o.Rule.MarkersUpTo), nil}
}

func (o *Expire) fields() fields {
	return fields{kindExpire, o.Bucket, uint64(o.ExpiredUpTo), uint64(o.UnmarkedUpTo), nil}
}

func (o *ExpireMarkers) fields() fields {
	return fields{kindExpireMarkers, o.Bucket, uint64(o.MarkersExpiredUpTo), uint64(o.UnmarkedUpTo), nil}
}

func (o *Accept) fields() fields { return fields{kindAccept, o.Bucket, uint64(o.UpTo), 0, nil} }

func (o *Issue) fields() fields { return fields{kindIssue, o.Bucket, uint64(o.UpTo), 0, nil} }

func (o *Reveal) fields() fields {
	return fields{kindReveal, o.Bucket, uint64(o.Last), uint64(o.Next), nil}
}

// Append appends an operation to dst as an item.
func Append(dst []byte, op Operation) []byte {
	f := op.fields()
	dst, head := beginItem(dst, f.kind)
	dst = binary.LittleEndian.AppendUint64(dst, f.bucket)
	dst = binary.LittleEndian.AppendUint64(dst, f.first)
	dst = binary.LittleEndian.AppendUint64(dst, f.second)
	if f.config != nil {
		dst = append(dst, manifest.EncodeConfig(*f.config)...)
	}
	return EndItem(dst, head)
}

// Decode reads the body of an item that is not of kind Records. The operation keeps
// no part of body. An unknown kind is kv.ErrVersion.
func Decode(kind Kind, body []byte) (Operation, error) {
	if kind < kindCreate || kind > kindReveal {
		return nil, fmt.Errorf("%w: item kind %d", kv.ErrVersion, kind)
	}
	if len(body) < operationSize {
		return nil, fmt.Errorf("operation of %d bytes", len(body))
	}
	bucket := binary.LittleEndian.Uint64(body)
	first := binary.LittleEndian.Uint64(body[8:])
	second := binary.LittleEndian.Uint64(body[16:])
	switch kind {
	case kindDelete:
		return &Delete{bucket}, nil
	case kindPurgeDeletes:
		return &PurgeDeletes{bucket, manifest.PurgeDeletes{UpTo: kv.Revision(first), MarkersUpTo: kv.Revision(second)}}, nil
	case kindExpire:
		return &Expire{bucket, kv.Revision(first), kv.Revision(second)}, nil
	case kindExpireMarkers:
		return &ExpireMarkers{bucket, int64(first), kv.Revision(second)}, nil
	case kindAccept:
		return &Accept{bucket, kv.Revision(first)}, nil
	case kindIssue:
		return &Issue{bucket, kv.Revision(first)}, nil
	case kindReveal:
		return decodeReveal(bucket, first, second)
	}
	config, err := manifest.DecodeConfig(body[operationSize:])
	if err != nil {
		return nil, err
	}
	if kind == kindCreate || kind == kindCreateHidden {
		if second == 0 || second > manifest.LifeMax {
			return nil, fmt.Errorf("bucket %d with life %d, must be 1 to %d", bucket, second, uint64(manifest.LifeMax))
		}
		return &Create{bucket, int64(first), second, config, kind == kindCreateHidden}, nil
	}
	return decodeEdit(bucket, config, kv.Revision(first), second)
}

func decodeReveal(bucket, last, next uint64) (Operation, error) {
	if next <= last {
		return nil, fmt.Errorf("bucket %d with a record of revision %d, and the next is %d", bucket, last, next)
	}
	return &Reveal{bucket, kv.Revision(last), kv.Revision(next)}, nil
}

func decodeEdit(bucket uint64, config kv.Config, upTo kv.Revision, keep uint64) (Operation, error) {
	op := &Edit{Bucket: bucket, Config: config}
	if keep == 0 {
		return op, nil
	}
	op.Cut = manifest.Cut{UpTo: upTo, Keep: int(keep)}
	if err := op.Cut.Check(); err != nil {
		return nil, err
	}
	return op, nil
}
