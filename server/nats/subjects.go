package nats

import (
	"sync"

	"kvd/internal/patterns"
	"kvd/internal/view"
)

// subjectTree finds the values whose patterns match a subject: subscriptions, or the
// buckets of streams. Safe for concurrent use.
type subjectTree[T comparable] struct {
	mu   sync.RWMutex
	trie patterns.Trie[T]
}

// insert adds a value for the subjects that match pattern, which is valid.
func (t *subjectTree[T]) insert(pattern string, v T) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.trie.Add(pattern, v)
}

// remove undoes insert.
func (t *subjectTree[T]) remove(pattern string, v T) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.trie.Remove(pattern, v)
}

// match appends to found the values whose patterns match a literal subject, which it does
// not keep.
func (t *subjectTree[T]) match(found []T, subject []byte) []T {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.trie.Match(found, view.String(subject))
}
