package verify

import (
	"fmt"
	"path"

	"kvd/bucket/manifest"
	"kvd/index"
	"kvd/internal/view"
	"kvd/kv"
	"kvd/segment"
)

// content is the records of a bucket that its segments keep, as an open would find them. It is
// empty unless the manifest has the bucket's digest.
type content struct {
	bucket *manifest.Bucket
	index  *index.Index
}

// add adds an entry of a segment, in the order of the segments.
func (c *content) add(e *segment.Entry) {
	if c.bucket.Digest == nil {
		return
	}
	if c.index == nil {
		c.index = index.New()
	}
	hash := index.Hash(view.String(e.Key))
	if e.Op == segment.Erase {
		c.index.Trim(hash, view.String(e.Key), e.Floor, nil)
		return
	}
	c.index.Load(hash, e.Key, index.Version{
		Revision: e.Revision, Created: e.Created, Deadline: e.Deadline, Size: e.Footprint(), Op: kv.Operation(e.Op), Reason: e.Reason,
	}, e.Floor)
}

// digest returns the digest of the records that the rules of the manifest keep.
func (c *content) digest() kv.Digest {
	if c.index == nil {
		return kv.Digest{}
	}
	var room, live [kv.MaxHistory]index.Version
	c.index.All(func(key []byte, _ index.Version) bool {
		name := view.String(key)
		hash := index.Hash(name)
		versions := c.index.Versions(room[:0], hash, name)
		kept := c.bucket.Live.Filter(append(live[:0], versions...))
		for _, version := range versions {
			if len(kept) > 0 && kept[0].Revision == version.Revision {
				kept = kept[1:]
				continue
			}
			c.index.Remove(hash, name, version.Revision, nil)
		}
		return true
	})
	return c.index.Digest()
}

// checkDigest compares the digest of a bucket without damage with that in the manifest.
func (v *verification) checkDigest(c *content) {
	want := c.bucket.Digest
	if want == nil {
		return
	}
	if got := c.digest(); got != *want {
		v.damaged(&kv.CorruptError{File: path.Join(v.dir, manifest.Names[0]), Offset: -1, Detail: fmt.Sprintf(
			"bucket %q: the digest of its records is %v, that in the manifest %v", c.bucket.Config.Bucket, got, *want)})
	}
}
