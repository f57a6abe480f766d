package cut

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"time"

	"kvd/bucket/manifest"
	"kvd/kv"
	"kvd/segment"
	"kvd/wal"
)

// Content says what a cut holds.
type Content struct {
	LSN      wal.LSN   // it has every frame of the log up to it, and nothing of a later one
	Time     time.Time // of the store at that position
	StoreID  [16]byte
	Words    wal.Words // of the log's frame behind LSN; zero: not known, as of a cut of some buckets
	Manifest []byte    // the manifest with these buckets alone: one copy of it, as a file has it
	Buckets  []Bucket  // ascending by ID
	Files    []File    // in the order in which they follow
}

// Bucket describes a bucket of a cut. All of it is in the manifest too.
type Bucket struct {
	ID       uint64 // in paths and records; clients see Life
	Life     uint64
	Created  time.Time
	Revision kv.Revision // the newest one that was issued; 0: none. Of a bucket in memory: none above it was
	Keys     uint64      // with a record, deleted ones included
	Config   kv.Config
	Digest   *kv.Digest // of its records (package kv/digest); nil: not known
}

// File is a file of a cut: a segment, or a value file (package segment).
type File struct {
	Bucket uint64 // id
	Number uint64
	Value  bool  // it is a value file
	Size   int64 // bytes that belong to it
}

// Name returns the name that the file has in a store.
func (f File) Name() string {
	if f.Value {
		return segment.ValueFileName(f.Number)
	}
	return segment.FileName(f.Number)
}

// ParseFile returns the file of a bucket with the name that Name made, and that size. ok is false for
// any other name.
func ParseFile(bucket uint64, name string, size int64) (f File, ok bool) {
	f = File{Bucket: bucket, Size: size}
	if f.Number, ok = segment.ParseFileName(name); !ok {
		f.Number, ok = segment.ParseValueFileName(name)
		f.Value = ok
	}
	return f, ok
}

// Sink takes a cut. The calls come from one goroutine, in this order. An error of the sink
// ends the cut, and is returned as it is.
type Sink interface {
	// Begin is called once.
	Begin(*Content) error
	// File is called once for each file of the content. It reads data to its end, which comes after
	// f.Size bytes. Large reads are cheaper: each opens the file. An error of a read that is not
	// io.EOF ends the cut.
	File(f File, data io.Reader) error
}

// Report says what became of a cut.
type Report struct {
	Content *Content
	Bytes   int64 // of files
	Damage  int   // places of damage in the files, which the cut has as they are
	Damages []*kv.CorruptError
	Elapsed time.Duration
}

// DamagesMax bounds Report.Damages.
const DamagesMax = 1000

// Damaged adds a place of damage.
func (r *Report) Damaged(d *kv.CorruptError) {
	if r.Damage++; len(r.Damages) < DamagesMax {
		r.Damages = append(r.Damages, d)
	}
}

// Describe returns the content of a manifest. The caller adds the files.
func Describe(id manifest.Identity, state *manifest.State) *Content {
	c := &Content{Manifest: manifest.Encode(id, state)}
	c.describe(id, state)
	return c
}

// describe sets everything that the manifest tells.
func (c *Content) describe(id manifest.Identity, state *manifest.State) {
	c.LSN, c.Time, c.StoreID, c.Words = state.LogLow, time.Unix(0, state.Clock).UTC(), id.StoreID, state.LogWords
	c.Buckets = nil
	for _, b := range state.Buckets {
		c.Buckets = append(c.Buckets, Bucket{
			ID: b.ID, Life: b.Life, Created: time.Unix(0, b.Created).UTC(), Revision: b.Next - 1, Keys: b.Keys, Config: b.Config, Digest: b.Digest,
		})
	}
	slices.SortFunc(c.Buckets, func(a, b Bucket) int { return cmp.Compare(a.ID, b.ID) })
}

// Complete sets everything that the manifest tells, in a content that has manifest and files alone, and
// checks that a store makes such a content. file is what errors call it. The error matches
// kv.ErrCorrupt, or kv.ErrVersion.
func (c *Content) Complete(file string) error {
	m, err := c.decode(file)
	if err != nil {
		return err
	}
	c.describe(m.Identity, &m.State)
	return nil
}

// Compare orders files as a content has them: by bucket, then segments before value files, then by
// number.
func (f File) Compare(g File) int {
	if f.Bucket == g.Bucket && f.Value != g.Value {
		if g.Value {
			return -1
		}
		return 1
	}
	return cmp.Or(cmp.Compare(f.Bucket, g.Bucket), cmp.Compare(f.Number, g.Number))
}

// Bytes returns the size of all files.
func (c *Content) Bytes() (n int64) {
	for _, f := range c.Files {
		n += f.Size
	}
	return n
}

// decode returns the manifest, and checks that the content is what a store makes of it: it may come
// from a file that somebody has changed. file is what errors call it.
func (c *Content) decode(file string) (*manifest.Copy, error) {
	m, err := manifest.Decode(file, c.Manifest)
	if err != nil {
		return nil, err
	}
	corrupt := func(format string, args ...any) error {
		return &kv.CorruptError{File: file, Offset: -1, Detail: fmt.Sprintf(format, args...)}
	}
	seen := make(map[uint64]bool)
	segments := make(map[uint64]File)
	for _, b := range m.State.Buckets {
		for _, s := range b.Segments {
			segments[s.Number] = File{Bucket: b.ID, Number: s.Number, Size: s.Size}
		}
	}
	for _, f := range c.Files {
		switch {
		case seen[f.Number]:
			return nil, corrupt("file number %d is used twice", f.Number)
		case f.Number >= m.State.Numbers:
			return nil, corrupt("file number %d was not given away", f.Number)
		case !f.Value && segments[f.Number] != f:
			return nil, corrupt("segment %d is not in the manifest, or differs", f.Number)
		case f.Value && m.State.Buckets[f.Bucket] == nil, f.Value && !segment.IsValueFileBytes(f.Size):
			return nil, corrupt("value file %d has %d bytes, or its bucket is missing", f.Number, f.Size)
		}
		seen[f.Number] = true
	}
	return m, nil
}
