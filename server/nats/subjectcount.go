package nats

import (
	"context"
	"sync"

	"kvd/kv"
)

// subjectCounts remembers how many subjects the streams had whose messages have keys of
// their own: there the store cannot tell, and to count them is to list all keys, some
// 0.2 µs each. Safe for concurrent use.
type subjectCounts struct {
	byBucket sync.Map // name → subjectCount
}

// subjectCount is how many subjects a bucket had, in one life of its name, at a
// revision and with so many records.
type subjectCount struct {
	bucket   uint64
	revision kv.Revision
	values   uint64
	subjects uint64
}

// Of returns how many subjects a stream has.
func (cs *subjectCounts) of(ctx context.Context, s *stream) (uint64, error) {
	st := &s.status
	if !s.layout.OnePerMessage {
		return st.Named, nil
	}
	if was, ok := cs.byBucket.Load(s.name); ok {
		if was := was.(subjectCount); was.bucket == st.ID && was.revision == st.Revision && was.values == st.Values {
			return was.subjects, nil
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

// Remove forgets a bucket.
func (cs *subjectCounts) drop(bucket string) { cs.byBucket.Delete(bucket) }
