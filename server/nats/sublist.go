package nats

import (
	"bytes"
	"strings"
	"sync"
	"sync/atomic"
)

// subscription is one SUB of a connection.
type subscription struct {
	// Immutable.
	conn    *conn
	user    string // who made it; empty: there are none
	sid     string
	subject string
	queue   string // empty: none

	delivered atomic.Uint64
	max       atomic.Uint64 // remove it after so many deliveries; 0: never
	closed    atomic.Bool
}

// sublist finds the subscriptions that a subject reaches: a tree by tokens. Safe for
// concurrent use.
type sublist struct {
	mu   sync.RWMutex
	root level
	size int
}

// level is the subscriptions by the next token.
type level struct {
	literal map[string]*level
	star    *level
	subs    []*subscription // whose subjects end here
	rest    []*subscription // whose subjects end here in ">"
}

// insert adds a subscription, whose subject is valid.
func (l *sublist) insert(s *subscription) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.size++
	at := &l.root
	for subject, more := s.subject, true; more; {
		var token string
		token, subject, more = strings.Cut(subject, ".")
		if token == ">" {
			at.rest = append(at.rest, s)
			return
		}
		at = at.child(token)
	}
	at.subs = append(at.subs, s)
}

func (l *level) child(token string) *level {
	if token == "*" {
		if l.star == nil {
			l.star = &level{}
		}
		return l.star
	}
	next := l.literal[token]
	if next == nil {
		if l.literal == nil {
			l.literal = make(map[string]*level)
		}
		next = &level{}
		l.literal[token] = next
	}
	return next
}

// remove takes a subscription out and reports whether it was there.
func (l *sublist) remove(s *subscription) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	removed := l.root.remove(s, s.subject)
	if removed {
		l.size--
	}
	return removed
}

// remove takes a subscription out below a level; levels that it leaves empty go too.
func (l *level) remove(s *subscription, subject string) bool {
	token, rest, more := strings.Cut(subject, ".")
	if token == ">" {
		return drop(&l.rest, s)
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
		removed = next.remove(s, rest)
	} else {
		removed = drop(&next.subs, s)
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

func (l *level) isEmpty() bool {
	return len(l.literal) == 0 && l.star == nil && len(l.subs) == 0 && len(l.rest) == 0
}

// drop takes a subscription out of a list. Its order counts for nothing.
func drop(list *[]*subscription, s *subscription) bool {
	for i, other := range *list {
		if other == s {
			last := len(*list) - 1
			(*list)[i] = (*list)[last]
			(*list)[last] = nil
			*list = (*list)[:last]
			return true
		}
	}
	return false
}

// match appends the subscriptions that a subject reaches.
func (l *sublist) match(found []*subscription, subject []byte) []*subscription {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.root.match(found, subject)
}

func (l *level) match(found []*subscription, subject []byte) []*subscription {
	for {
		found = append(found, l.rest...)
		token, rest, more := bytes.Cut(subject, dot)
		if l.star != nil {
			if more {
				found = l.star.match(found, rest)
			} else {
				found = append(found, l.star.subs...)
			}
		}
		next := l.literal[string(token)]
		if next == nil {
			return found
		}
		if !more {
			return append(found, next.subs...)
		}
		l, subject = next, rest
	}
}
