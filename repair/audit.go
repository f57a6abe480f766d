package repair

import (
	"context"
	"fmt"

	"kvd/bucket"
	"kvd/kv"
)

// audit is what is known of a bucket once all of it was read.
type audit struct {
	BucketReport
	bucket *bucket.Bucket
	config kv.Config
	// withheld are the keys whose newest record is lost. Their older values must not pass for
	// newest ones.
	withheld map[string]bool
}

// takes reports whether the new store gets a record.
func (a *audit) takes(k *bucket.Kept) bool {
	return (k.Damage == nil || k.Operation.IsMarker()) && !a.withheld[k.Key]
}

// auditor reads buckets and says what is lost of them.
type auditor struct {
	opts    *Options
	rebuilt map[string]bool
	found   func(*Finding) error
}

// bucket reads all records of a bucket.
func (r *auditor) bucket(ctx context.Context, b *bucket.Bucket) (*audit, error) {
	status, err := b.Status(kv.WithStale(ctx))
	if err != nil {
		return nil, err
	}
	a := &audit{bucket: b, config: status.Config, withheld: make(map[string]bool)}
	a.Name, a.Next = b.Name(), b.NextRevision()
	doubt, err := b.Doubt(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.tellMissing(a, &doubt); err != nil {
		return nil, err
	}
	if doubt.Unknown && !r.opts.AcceptLogLoss {
		a.Skipped = "a change of the bucket as a whole may be missing"
		err := r.found(&Finding{Kind: KindLeftOut, Bucket: a.Name, Text: a.Skipped + ": --accept-log-loss takes the bucket as it reads"})
		if err != nil {
			return nil, err
		}
	}
	tell := reading{auditor: r, audit: a, doubt: &doubt}
	if err := b.Records(ctx, tell.record); err != nil {
		return nil, err
	}
	if err := tell.tellLost(ctx); err != nil {
		return nil, err
	}
	return a, r.found(&Finding{Kind: KindBucket, Bucket: a.Name, Summary: &a.BucketReport})
}

// tellMissing tells the records whose keys nobody knows.
func (r *auditor) tellMissing(a *audit, d *kv.Doubt) error {
	for i := range d.Missing {
		m := &d.Missing[i]
		a.Missing += m.Records
		a.Unsure = a.Unsure || m.Records == 0
		err := r.found(&Finding{Kind: KindMissing, Bucket: a.Name, After: m.After, UpTo: m.UpTo, Records: m.Records, File: m.File, Offset: &m.Offset})
		if err != nil {
			return err
		}
	}
	if d.Unknown {
		a.Unsure = true
	}
	return nil
}

// reading is the reading of one bucket.
type reading struct {
	*auditor
	audit *audit
	doubt *kv.Doubt
	held  []Finding // lost records; what becomes of their keys is known at the end
}

func (r *reading) record(k *bucket.Kept) error {
	a := r.audit
	a.config.MaxValueSize = max(a.config.MaxValueSize, int64(len(k.Value)))
	if k.Damage != nil && !k.Operation.IsMarker() {
		a.Lost++
		r.held = append(r.held, Finding{
			Kind: KindLost, Bucket: a.Name, Key: k.Key, Revision: k.Revision, Operation: k.Operation.String(), Created: &k.Created,
			Newest: k.Newest, Text: k.Damage.Error(),
		})
		a.withheld[k.Key] = a.withheld[k.Key] || k.Newest && !r.opts.PreferOlder
	} else {
		a.Records++
		if k.Newest {
			a.Keys++
		}
	}
	if !k.Newest || k.Damage != nil && !k.Operation.IsMarker() {
		return nil
	}
	return r.risk(k)
}

// risk tells a key whose newest known record may have had a newer one, or may have been removed.
func (r *reading) risk(k *bucket.Kept) error {
	var why string
	switch {
	case r.doubt.Unknown:
		why = "a change of the bucket as a whole may be missing"
	case k.Revision <= r.doubt.Bound:
		why = fmt.Sprintf("records up to revision %d are missing, and one of them may be the key's", r.doubt.Bound)
	case r.rebuilt[r.audit.Name] && k.Operation == kv.Put:
		why = "the rules of the bucket are lost with the manifest, and one of them may have ended the key"
	default:
		return nil
	}
	r.audit.AtRisk++
	created := k.Created
	return r.found(&Finding{Kind: KindAtRisk, Bucket: r.audit.Name, Key: k.Key, Revision: k.Revision, Operation: k.Operation.String(), Created: &created, Text: why})
}

// tellLost tells the lost records, and what becomes of the keys whose newest records they are.
func (r *reading) tellLost(ctx context.Context) error {
	if len(r.held) == 0 {
		return nil
	}
	older, err := r.older(ctx)
	if err != nil {
		return err
	}
	for i := range r.held {
		if err := r.found(&r.held[i]); err != nil {
			return err
		}
	}
	for i := range r.held {
		f := &r.held[i]
		if !f.Newest {
			continue
		}
		if err := r.found(r.fate(f, older[f.Key])); err != nil {
			return err
		}
	}
	return nil
}

// older returns how many records can be read of each key whose newest record is lost.
func (r *reading) older(ctx context.Context) (map[string]uint64, error) {
	keys := make(map[string]uint64)
	for i := range r.held {
		if r.held[i].Newest {
			keys[r.held[i].Key] = 0
		}
	}
	err := r.audit.bucket.Records(ctx, func(k *bucket.Kept) error {
		if n, ok := keys[k.Key]; ok && (k.Damage == nil || k.Operation.IsMarker()) {
			keys[k.Key] = n + 1
		}
		return nil
	})
	return keys, err
}

// fate decides what becomes of a key whose newest record is lost, with so many older ones. They
// are no longer counted as recovered if the key is left out.
func (r *reading) fate(lost *Finding, older uint64) *Finding {
	f := &Finding{Kind: KindLeftOut, Bucket: lost.Bucket, Key: lost.Key, Revision: lost.Revision, Text: "its newest value is lost, and there is no older one"}
	switch {
	case older > 0 && r.opts.PreferOlder:
		f.Kind, f.Text = KindAtRisk, "its newest value is lost, and an older one took its place"
		r.audit.AtRisk++
		r.audit.Keys++
		return f
	case older > 0:
		f.Text = "its newest value is lost; older ones are in " + LostFile
		r.audit.Records -= older
	}
	r.audit.LeftOut++
	return f
}

// LostFile is the file in the directory of the new store with the records of keys that were left
// out, and that can be read. It has lines of package records.
const LostFile = "lost.jsonl"
