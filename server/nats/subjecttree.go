package nats

import (
	"bytes"
	"strings"
	"sync"
)

// subjectTree finds what a subject reaches, subscriptions or streams: a tree by tokens.
// Safe for concurrent use.
type subjectTree[T comparable] struct {
	mu   sync.RWMutex
	root level[T]
	size int
}

// level is what is found by the next token.
type level[T comparable] struct {
	literal map[string]*level[T]
	star    *level[T]
	ends    []T // whose subjects end here
	rest    []T // whose subjects end here in ">"
}

// insert adds what is reached by the subjects that match a valid one.
func (l *subjectTree[T]) insert(subject string, v T) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.size++
	at := &l.root
	for more := true; more; {
		var token string
		token, subject, more = strings.Cut(subject, ".")
		if token == ">" {
			at.rest = append(at.rest, v)
			return
		}
		at = at.child(token)
	}
	at.ends = append(at.ends, v)
}

func (l *level[T]) child(token string) *level[T] {
	if token == "*" {
		if l.star == nil {
			l.star = &level[T]{}
		}
		return l.star
	}
	next := l.literal[token]
	if next == nil {
		if l.literal == nil {
			l.literal = make(map[string]*level[T])
		}
		next = &level[T]{}
		l.literal[token] = next
	}
	return next
}

// remove takes out what was inserted, and reports whether it was there.
func (l *subjectTree[T]) remove(subject string, v T) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	removed := l.root.remove(subject, v)
	if removed {
		l.size--
	}
	return removed
}

// remove takes it out below a level; levels that it leaves empty go too.
func (l *level[T]) remove(subject string, v T) bool {
	token, rest, more := strings.Cut(subject, ".")
	if token == ">" {
		return drop(&l.rest, v)
	}
	next := l.star
	if token != "*" {
		next = l.literal[token]
	}
	if next == nil {
		return false
	}
	var removed bool
	if more {
		removed = next.remove(rest, v)
	} else {
		removed = drop(&next.ends, v)
	}
	if next.isEmpty() {
		if token == "*" {
			l.star = nil
		} else {
			delete(l.literal, token)
		}
	}
	return removed
}

func (l *level[T]) isEmpty() bool {
	return len(l.literal) == 0 && l.star == nil && len(l.ends) == 0 && len(l.rest) == 0
}

// drop takes an element out of a list. Its order counts for nothing.
func drop[T comparable](list *[]T, v T) bool {
	for i, other := range *list {
		if other == v {
			last := len(*list) - 1
			(*list)[i] = (*list)[last]
			clear((*list)[last:])
			*list = (*list)[:last]
			return true
		}
	}
	return false
}

// match appends what a literal subject reaches.
func (l *subjectTree[T]) match(found []T, subject []byte) []T {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.root.match(found, subject)
}

func (l *level[T]) match(found []T, subject []byte) []T {
	for {
		found = append(found, l.rest...)
		token, rest, more := bytes.Cut(subject, dot)
		if l.star != nil {
			if more {
				found = l.star.match(found, rest)
			} else {
				found = append(found, l.star.ends...)
			}
		}
		next := l.literal[string(token)]
		if next == nil {
			return found
		}
		if !more {
			return append(found, next.ends...)
		}
		l, subject = next, rest
	}
}
