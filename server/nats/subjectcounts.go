package nats

import (
	"context"
	"sync"

	"kvd/kv"
)

// subjectCounts remembers the number of subjects of the streams with OnePerMessage. The
// store does not know it there, and to count them is to list all keys, about 0.2 µs each.
// Safe for concurrent use.
type subjectCounts struct {
	byBucket sync.Map // by name: subjectCount
}

// subjectCount is the number of a bucket's subjects. It is valid for one revision and one
// number of values.
type subjectCount struct {
	bucketID uint64
	revision kv.Revision
	values   uint64
	subjects uint64
}

// of returns the number of a stream's subjects.
func (cs *subjectCounts) of(ctx context.Context, s *stream) (uint64, error) {
	st := &s.status
	if !s.layout.OnePerMessage {
		return st.Named, nil
	}
	if known, ok := cs.byBucket.Load(s.name); ok {
		if known := known.(subjectCount); known.bucketID == st.ID && known.revision == st.Revision && known.values == st.Values {
			return known.subjects, nil
		}
	}
	seen := make(map[string]struct{})
	for key, err := range s.bucket.Keys(ctx) {
		if err != nil {
			return 0, err
		}
		seen[s.layout.SubjectPart(key)] = struct{}{}
	}
	n := uint64(len(seen))
	cs.byBucket.Store(s.name, subjectCount{st.ID, st.Revision, st.Values, n})
	return n, nil
}

// remove removes what is remembered of a bucket.
func (cs *subjectCounts) remove(bucket string) { cs.byBucket.Delete(bucket) }
