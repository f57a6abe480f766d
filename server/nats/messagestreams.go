package nats

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"kvd/internal/patterns"
	"kvd/server/nats/streamconfig"
	"kvd/server/nats/wire"
)

// messageStreams finds the message streams by the subjects that they capture. Only the
// front end creates, changes and deletes them, so it need not ask the store for each
// message. Safe for concurrent use.
type messageStreams struct {
	// changing is locked while a message stream is created, changed or deleted, so that no
	// user's subject is captured twice. A shared lock is enough for the stream of a key/value
	// bucket.
	changing sync.RWMutex

	count    atomic.Int64
	captures subjectTree[string] // by subject: the names of buckets
	gates    sync.Map            // by bucket: *gate

	mu       sync.Mutex // guards subjects
	subjects map[string][]string
}

// lockChanges locks changing for a change of the stream of that name, to the configuration or
// from it, and returns the function that unlocks it.
func (ms *messageStreams) lockChanges(cfg *streamconfig.Config) func() {
	if !cfg.IsMessageStream() {
		ms.changing.RLock()
		bucket, _ := streamconfig.MessageBucketOf(cfg.Name)
		if ms.subjectsOf(bucket) == nil { // and nobody makes one now
			return ms.changing.RUnlock
		}
		ms.changing.RUnlock()
	}
	ms.changing.Lock()
	return ms.changing.Unlock
}

// set makes a bucket's stream capture these subjects and no others. It does nothing for a
// key/value bucket.
func (ms *messageStreams) set(bucket string, subjects []string) {
	if !strings.HasPrefix(bucket, streamconfig.MessageStreamPrefix) {
		return
	}
	ms.mu.Lock()
	defer ms.mu.Unlock()
	before, there := ms.subjects[bucket]
	if ms.subjects == nil {
		ms.subjects = make(map[string][]string)
	}
	ms.subjects[bucket] = subjects
	for _, s := range subjects { // added before others are removed: a subject in both lists is always captured
		if !slices.Contains(before, s) {
			ms.captures.insert(s, bucket)
		}
	}
	for _, s := range before {
		if !slices.Contains(subjects, s) {
			ms.captures.remove(s, bucket)
		}
	}
	if !there {
		ms.count.Add(1)
	}
}

// remove removes a stream.
func (ms *messageStreams) remove(bucket string) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	ms.removeLocked(bucket)
}

func (ms *messageStreams) removeLocked(bucket string) {
	subjects, ok := ms.subjects[bucket]
	if !ok {
		return
	}
	for _, s := range subjects {
		ms.captures.remove(s, bucket)
	}
	delete(ms.subjects, bucket)
	ms.gates.Delete(bucket)
	ms.count.Add(-1)
}

// capturing appends to found the buckets of the streams that capture a literal subject.
func (ms *messageStreams) capturing(found []string, subject []byte) []string {
	if ms.count.Load() == 0 {
		return nil
	}
	if found = ms.captures.match(found, subject); len(found) > 0 && wire.ValidSubject(subject) {
		return found
	}
	return nil
}

// overlapping returns the buckets of the streams, except that of bucket, whose subjects
// overlap with the given ones.
func (ms *messageStreams) overlapping(subjects []string, bucket string) (others []string) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	for other, captured := range ms.subjects {
		if other != bucket && anyOverlap(subjects, captured) {
			others = append(others, other)
		}
	}
	return others
}

// subjectsOf returns the subjects that a bucket's stream captures.
func (ms *messageStreams) subjectsOf(bucket string) []string {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	return ms.subjects[bucket]
}

// subjects returns the subjects of a bucket's stream, of either kind.
func (f *Front) subjects(bucket string) []string {
	if strings.HasPrefix(bucket, streamconfig.MessageStreamPrefix) {
		return f.messageStreams.subjectsOf(bucket)
	}
	return []string{streamconfig.SubjectsOf(bucket)}
}

// anyOverlap reports whether some subject matches a pattern of both lists, or the lists are
// too large to find out.
func anyOverlap(a, b []string) bool {
	found, exhausted := patterns.AnyOverlap(a, b)
	return found || exhausted
}
