package fuzz

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"kvd/kv"
	"kvd/kv/msglog"
	"kvd/segment"
)

// Model is a store according to the specification: maps of histories. It is the oracle
// for any kv.Store whose clock the test controls. It knows that a restart empties memory
// buckets, and that an interval bucket skips revisions after a crash. It does not know to
// which of its states a store may return: that is decided by the caller.
//
// The records of a Model, their slices and its Buckets are never changed; a write
// replaces them. So Clone is cheap, and another goroutine may read a clone. A Model itself
// is for one goroutine.
type Model struct {
	Clock   int64 // unix ns: time of the next write
	Buckets map[string]*Bucket
}

// Bucket is one bucket of a Model.
type Bucket struct {
	Config   kv.Config // with defaults filled in
	ID       uint64    // 0: unknown
	Created  int64     // unix ns
	Revision kv.Revision
	Keys     map[string][]Record // oldest record first; every key has at least one record
	Hidden   uint64              // records that a store counts but does not return; 0 in a model
	aged     int64               // unix ns: a sweep has removed everything that was expired by the bucket's TTL then
	ended    kv.Revision         // the newest record that was removed from a bucket without markers as the last of its key
}

// Record is one kept record of a key.
type Record struct {
	Revision  kv.Revision
	Created   int64 // unix ns
	Deadline  int64 // unix ns; 0: none
	Operation kv.Operation
	Reason    kv.MarkerReason
	Value     []byte
	Stored    int   // bytes that the value occupies; less than its length if it is compressed
	Err       error // the error of the store that returned no record; nil in a model
}

// NewModel returns an empty store.
func NewModel() *Model { return &Model{Buckets: make(map[string]*Bucket)} }

// Clone returns a copy that changes independently.
func (m *Model) Clone() *Model {
	return &Model{Clock: m.Clock, Buckets: maps.Clone(m.Buckets)}
}

// at returns the model at another time.
func (m *Model) at(now int64) *Model {
	m = m.Clone()
	m.Clock = now
	return m
}

// named returns the model with the ids that a store has given its buckets. New ids
// continue from them.
func (m *Model) named(got *Model) *Model {
	m = m.Clone()
	for name, b := range m.Buckets {
		b = m.change(b)
		b.ID, b.Revision = got.Buckets[name].ID, got.Buckets[name].Revision
	}
	return m
}

// restarted returns the model after the store was opened again: memory buckets are empty,
// with other ids and with revisions above those before. Buckets are recognized by their ids.
func (m *Model) restarted() *Model {
	m = m.Clone()
	for _, b := range m.Buckets {
		if b.Config.Storage == kv.MemoryStorage {
			b = m.change(b)
			b.ID, b.Keys, b.aged, b.ended = 0, make(map[string][]Record), 0, 0
		}
	}
	return m
}

// seen returns the model as readers see it now, without expired records.
func (m *Model) seen() *Model {
	m = m.Clone()
	for _, b := range m.Buckets {
		b = m.change(b)
		for key := range b.Keys {
			if b.Keys[key] = b.Shown(key, m.Clock); len(b.Keys[key]) == 0 {
				delete(b.Keys, key)
			}
		}
	}
	return m
}

// interval reports whether a bucket acknowledges writes before they are durable.
func (m *Model) interval() bool {
	for _, b := range m.Buckets {
		if b.Config.Sync == kv.SyncInterval && b.Config.Storage == kv.FileStorage {
			return true
		}
	}
	return false
}

// change replaces the bucket by a copy and returns the copy.
func (m *Model) change(b *Bucket) *Bucket {
	c := *b
	c.Keys = maps.Clone(b.Keys)
	m.Buckets[b.Config.Bucket] = &c
	return &c
}

// Write carries out one mutation. It returns the revision of its record, or the error of
// package kv with which the store must refuse it. If the key has expired, Write adds its
// expiry marker first, even if the mutation is refused; a bucket without markers gets
// none. A refused mutation changes nothing else.
func (m *Model) Write(w kv.Mutation) (kv.Revision, error) {
	b := m.Buckets[w.Bucket]
	if b == nil {
		return 0, kv.ErrBucketNotFound
	}
	if int64(len(w.Value)) > b.Config.MaxValueSize {
		return 0, kv.ErrValueTooLarge
	}
	if w.Op == msglog.Append {
		if len(w.Key)+msglog.AppendedKeySize > kv.MaxKeySize {
			return 0, kv.ErrInvalidKey
		}
		w.Key = string(msglog.AppendSuffix([]byte(w.Key+"."), b.Revision+1))
	}
	if w.Op != kv.MutateTouch { // a touch is checked before it writes
		b = m.expire(b, w.Key)
	}
	kept := b.Keys[w.Key]
	var newest Record
	if n := len(kept); n > 0 && !b.died(kept[n-1], true, m.Clock) {
		newest = kept[n-1]
	}
	if err := refuse(w, newest); err != nil {
		return 0, err
	}
	if w.IfNewest && w.Newest != b.Revision {
		return 0, kv.ErrKeyRevisionMismatch
	}
	r := Record{Revision: b.Revision + 1, Created: m.Clock, Operation: kv.Put, Value: w.Value}
	if w.TTL != 0 {
		r.Deadline = m.Clock + int64(w.TTL)
	}
	switch w.Op {
	case kv.MutateTouch:
		r.Value = newest.Value
	case kv.MutateDelete:
		r.Operation, r.Reason, r.Value = kv.Delete, kv.ReasonClient, nil
	case kv.MutatePurge:
		r.Operation, r.Reason, r.Value, kept = kv.Purge, kv.ReasonClient, nil, nil
	}
	r.Stored = storedSize(r.Value, b.Config.Compression)
	for b.aged > 0 && len(kept) > 0 && kept[0].Created <= b.aged {
		kept = kept[1:] // a swept record is kept only while it is the newest
	}
	kept = newestOf(append(slices.Clip(kept), r), b.Config.History)
	if limit := b.Config.MaxBytes; limit >= 0 && r.Operation == kv.Put {
		if b.Bytes()-size(w.Key, b.Keys[w.Key])+size(w.Key, kept) > limit {
			return 0, kv.ErrBucketFull
		}
	}
	b = m.change(b)
	b.Revision = r.Revision
	b.Keys[w.Key] = kept
	return r.Revision, nil
}

// refuse checks what a mutation expects of the newest record of its key. The zero Record
// means that there is none.
func refuse(w kv.Mutation, newest Record) error {
	live := newest.Operation == kv.Put
	switch {
	case w.Op == kv.MutateCreate && live:
		return kv.ErrKeyExists
	case w.Op == kv.MutateTouch && !live:
		return kv.ErrKeyNotFound
	case w.Op == kv.MutateUpdate && newest.Revision != w.Last,
		(w.Op == kv.MutateDelete || w.Op == kv.MutatePurge) && w.IfLast && newest.Revision != w.Last:
		return kv.ErrKeyRevisionMismatch
	}
	return nil
}

func newestOf(records []Record, n int) []Record { return records[max(0, len(records)-n):] }

// storedSize returns the bytes that a value occupies in its record. The codec decides how
// far it is compressed, and whether compression is worth it.
func storedSize(value []byte, compress bool) int {
	if compress {
		if packed := segment.Compress(value); packed != nil {
			return len(packed) + 4 // 4: the length before compression
		}
	}
	return len(value)
}

// Bytes returns the encoded size of the bucket's records. A record has 56 bytes, the key
// and the value as stored, rounded up to a multiple of 8.
func (b *Bucket) Bytes() int64 {
	var n int64
	for key, records := range b.Keys {
		n += size(key, records)
	}
	return n
}

func size(key string, records []Record) int64 {
	var n int64
	for _, r := range records {
		head := 56
		if r.Deadline != 0 {
			head += 8
		}
		n += int64(head+len(key)+r.Stored+7) &^ 7
	}
	return n
}

// CreateBucket makes a bucket. It does nothing if the bucket exists with the same
// configuration.
func (m *Model) CreateBucket(c kv.Config) error {
	c = c.WithDefaults()
	if b := m.Buckets[c.Bucket]; b != nil {
		if !b.Config.Equal(c) {
			return kv.ErrBucketExists
		}
		return nil
	}
	m.Buckets[c.Bucket] = &Bucket{Config: c, Created: m.Clock, Keys: make(map[string][]Record)}
	return nil
}

// UpdateBucket changes a configuration. A shorter history removes records at once; a
// longer one restores none.
func (m *Model) UpdateBucket(c kv.Config) error {
	b := m.Buckets[c.Bucket]
	if b == nil {
		return kv.ErrBucketNotFound
	}
	if c.Kind != b.Config.Kind {
		return kv.ErrInvalidConfig
	}
	if c = c.WithDefaults(); c.TTL != b.Config.TTL || c.History < b.Config.History {
		m.Sweep(c.Bucket) // expired records do not come back, and do not count
		b = m.Buckets[c.Bucket]
	}
	b = m.change(b)
	b.Config = c
	for key, records := range b.Keys {
		b.Keys[key] = newestOf(records, b.Config.History)
	}
	return nil
}

// DeleteBucket removes a bucket.
func (m *Model) DeleteBucket(name string) error {
	if m.Buckets[name] == nil {
		return kv.ErrBucketNotFound
	}
	delete(m.Buckets, name)
	return nil
}

// PurgeDeletes removes the records before markers, and the markers that are older than
// the duration: 0 means 30 minutes, a negative duration means all markers.
func (m *Model) PurgeDeletes(name string, olderThan time.Duration) error {
	b := m.Buckets[name]
	if b == nil {
		return kv.ErrBucketNotFound
	}
	if olderThan == 0 {
		olderThan = 30 * time.Minute
	}
	m.Sweep(name)
	b = m.change(m.Buckets[name])
	for key, records := range b.Keys {
		newest := records[len(records)-1]
		switch {
		case newest.Operation == kv.Put:
		case olderThan < 0 || newest.Created <= m.Clock-int64(olderThan):
			delete(b.Keys, key)
		default:
			b.Keys[key] = newestOf(records, 1)
		}
	}
	return nil
}

// Live returns the keys whose newest record is a value, in ascending order.
func (b *Bucket) Live() []string {
	var keys []string
	for key, records := range b.Keys {
		if records[len(records)-1].Operation == kv.Put {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// Diff describes how got differs from m, one line for each difference; "" means no
// difference. An ID of 0 in m matches any ID. A record that got could not read is
// compared by its known fields. Clock is not compared.
func (m *Model) Diff(got *Model) string {
	var d strings.Builder
	for _, name := range union(m.Buckets, got.Buckets) {
		want, have := m.Buckets[name], got.Buckets[name]
		switch {
		case want == nil:
			fmt.Fprintf(&d, "bucket %q should not be there\n", name)
		case have == nil:
			fmt.Fprintf(&d, "bucket %q is missing\n", name)
		case want != have:
			want.diff(&d, have, m.Clock)
		}
	}
	return d.String()
}

func (b *Bucket) diff(d *strings.Builder, got *Bucket, now int64) {
	name := b.Config.Bucket
	if !b.Config.Equal(got.Config) {
		fmt.Fprintf(d, "bucket %q: configuration %+v, want %+v\n", name, got.Config, b.Config)
	}
	if b.Created != got.Created || b.ID != got.ID && b.ID != 0 || !b.at(got.Revision) {
		fmt.Fprintf(d, "bucket %q: id %d, revision %d, created %d, want %d, %d, %d\n",
			name, got.ID, got.Revision, got.Created, b.ID, b.Revision, b.Created)
	}
	for _, key := range union(b.Keys, got.Keys) {
		if want, have := b.Shown(key, now), got.Keys[key]; !slices.EqualFunc(want, have, Record.equal) {
			fmt.Fprintf(d, "bucket %q, key %q: %v, want %v\n", name, key, have, want)
		}
	}
}

// skipped is the number of revisions that an interval bucket skips after a crash.
const skipped = 1 << 20

// at reports whether the bucket may be at that revision.
func (b *Bucket) at(got kv.Revision) bool {
	if b.Config.Storage == kv.MemoryStorage && b.ID == 0 { // restarted
		return got >= b.Revision // the next is above all that were told
	}
	if b.Config.Sync == kv.SyncInterval {
		return got >= b.Revision && (got-b.Revision)%skipped == 0
	}
	return got == b.Revision
}

func union[V any](a, b map[string]V) []string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}

// equal compares the fields that are known in both.
func (r Record) equal(o Record) bool {
	return r.Revision == o.Revision && r.Created == o.Created && r.Deadline == o.Deadline &&
		r.Operation == o.Operation && (r.Reason == o.Reason || r.Err != nil || o.Err != nil) &&
		(r.Err != nil || o.Err != nil || bytes.Equal(r.Value, o.Value))
}

// String describes the record for a report, with the beginning and length of its value.
func (r Record) String() string {
	s := fmt.Sprintf("%v@%d t%d", r.Operation, r.Revision, r.Created)
	if r.Operation == kv.Put {
		s += fmt.Sprintf(" %x…[%d]", r.Value[:min(len(r.Value), 8)], len(r.Value))
	}
	return s
}
