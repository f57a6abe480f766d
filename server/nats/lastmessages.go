package nats

import (
	"context"
	"errors"
	"slices"
	"strings"

	"kvd/kv"
	"kvd/kv/msglog"
	"kvd/server/nats/jsapi"
)

// lastMessages is the watch of a consumer that begins with the last message of each subject,
// in a stream where every message has a key of its own. The store knows no subjects there, so
// the messages are selected when the watch is opened. Those that come later follow.
type lastMessages struct {
	kv.Poller // of the later messages
	records   msglog.Log
	metaOnly  bool
	later     kv.Revision // where the later messages begin

	selected []kv.Revision // those still to come, ascending; below later
}

var _ kv.Poller = (*lastMessages)(nil)

// Poll calls fn for the selected messages that are still there, then for the later ones.
func (l *lastMessages) Poll(fn func(kv.Update) bool) (more bool, err error) {
	for len(l.selected) > 0 {
		e, err := l.records.At(context.Background(), l.selected[0])
		l.selected = l.selected[1:]
		if errors.Is(err, kv.ErrKeyNotFound) {
			continue
		}
		if err != nil {
			return false, err
		}
		e.Delta = l.Pending()
		u := kv.Update{Entry: &e, ValueSize: len(e.Value)}
		if l.metaOnly {
			e.Value = nil
		}
		if !fn(u) {
			return true, nil
		}
	}
	return l.Poller.Poll(fn)
}

// Pending returns how many of the selected messages, and of those that had come when the watch
// was opened, were not delivered yet.
func (l *lastMessages) Pending() uint64 { return uint64(len(l.selected)) + l.Poller.Pending() }

const (
	selectionStep = 1 << 10 // sequences for which memory is charged at once
	sequenceCost  = 16      // bytes of a sequence, in a slice that grows
)

// openLast opens the watch of a consumer that begins with the last message of each subject, if
// its filters select anything.
// The memory of the selection is charged to c, unless that is nil.
func (k *consumer) openLast(ctx context.Context, c *conn, s *stream, patterns []string) error {
	if len(patterns) == 0 {
		return nil
	}
	later := s.status.Revision + 1
	selected, err := s.selectLast(ctx, patterns, later, func() bool {
		if c == nil {
			return true
		}
		if !c.memory.charge(selectionStep * sequenceCost) {
			return false
		}
		k.cost += selectionStep * sequenceCost
		return true
	})
	if err != nil {
		return err
	}
	return k.openSelected(patterns, selected, later)
}

// openSelected opens a watch of the selected messages, and of the later ones.
func (k *consumer) openSelected(patterns []string, selected []kv.Revision, later kv.Revision) error {
	if err := k.openWatch(patterns, k.config.watchOptions(later)); err != nil {
		return err
	}
	if len(selected) > 0 {
		w := k.watch.Load()
		k.watch.Store(&watch{&lastMessages{Poller: w.Poller, records: k.records, metaOnly: k.config.HeadersOnly, later: later, selected: selected}, w.cancel})
	}
	return nil
}

// selection returns the selected messages that are still to come, with the one that is held,
// and where the later ones begin. There are none if the consumer's watch has come to those.
func (k *consumer) selection() (selected []kv.Revision, later kv.Revision) {
	l, ok := k.watch.Load().Poller.(*lastMessages)
	if !ok {
		return nil, 0
	}
	if k.pull != nil {
		if held := k.pull.held.Entry; held != nil && held.Revision < l.later {
			return append([]kv.Revision{held.Revision}, l.selected...), l.later
		}
	}
	return l.selected, l.later
}

// selectLast returns the sequences of the last message of each subject whose key matches a
// pattern, below a sequence and ascending. It calls charge before it keeps selectionStep more
// of them, and ends with an error if that returns false.
func (s *stream) selectLast(ctx context.Context, patterns []string, later kv.Revision, charge func() bool) (selected []kv.Revision, err error) {
	if s.records == nil {
		return nil, kv.ErrNotSupported
	}
	for _, pattern := range patterns {
		var subjects []string // each is the beginning of the next one and of the keys to come
		for key, err := range s.bucket.Keys(ctx, pattern) {
			if err != nil {
				return nil, err
			}
			for len(subjects) > 0 && !strings.HasPrefix(key, subjects[len(subjects)-1]+".") {
				subjects = subjects[:len(subjects)-1]
			}
			subject := s.layout.SubjectPart(key)
			if subject == key || len(subjects) > 0 && subjects[len(subjects)-1] == subject {
				continue // the front end did not write it, or it is not the subject's first, the newest
			}
			subjects = append(subjects, subject)
			revision, _ := msglog.AppendedRevision(key)
			if revision >= later {
				continue
			}
			if len(selected)%selectionStep == 0 && !charge() {
				return nil, errSelection
			}
			selected = append(selected, revision)
		}
	}
	slices.Sort(selected)
	return selected, nil
}

var errSelection = jsapi.NewError(503, jsapi.ErrNoResources.ErrCode, "insufficient resources: the last messages of so many subjects exceed the memory of a connection: choose a narrower filter")
