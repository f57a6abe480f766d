package msglog

import (
	"fmt"
	"maps"
	"strings"

	"kvd/kv"
)

// ReservedMetadata begins the keys of a bucket's metadata that belong to front ends.
// Tools that show a bucket hide them. An edit that does not name them keeps them, and a
// bucket that is made again without them is the same bucket: see [KeepReserved].
const ReservedMetadata = "_kvd."

// ReservedBucket begins the names of buckets that belong to front ends. Tools that list
// buckets for people hide them.
const ReservedBucket = "_kvd_"

// CheckUnreserved returns a *kv.NameError, matching kv.ErrInvalidBucketName, if name
// begins with [ReservedBucket].
func CheckUnreserved(name string) error {
	if !strings.HasPrefix(name, ReservedBucket) {
		return nil
	}
	const shown = 64 // bytes of the name kept
	return &kv.NameError{
		Name: name[:min(len(name), shown)], Offset: -1, Err: kv.ErrInvalidBucketName,
		Reason: fmt.Sprintf("names that begin with %q are kept for streams of NATS' clients", ReservedBucket),
	}
}

// KeepReserved returns c with the reserved metadata of have that c does not name: an
// edit by a client that knows nothing of it keeps it. The maps of both stay unchanged.
func KeepReserved(c, have kv.Config) kv.Config {
	shared := true // the caller's map
	for k, v := range have.Metadata {
		if _, given := c.Metadata[k]; given || !strings.HasPrefix(k, ReservedMetadata) {
			continue
		}
		if shared {
			c.Metadata, shared = maps.Clone(c.Metadata), false
		}
		if c.Metadata == nil {
			c.Metadata = make(map[string]string)
		}
		c.Metadata[k] = v
	}
	return c
}
