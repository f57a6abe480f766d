package watch

import (
	"slices"
	"sort"
	"strings"

	"kvd/kv"
)

// topic is what watchers of the same patterns share: the newest events that match,
// and the watchers that have seen them all. Guarded by Hub.mu.
type topic struct {
	name     string // the patterns, as canonical spells them
	patterns []string
	watchers int
	parked   []*Watcher // who has seen everything; waiting for the next event
	queue    []*kv.Entry
	low      kv.Revision // queue has every matching event above it that not all have seen
	matched  uint64      // Hub.turn when a key matched last: once a record, however many patterns do
}

// canonical returns the patterns sorted, each once, or nil if they select every
// key, and the name of the topic that they make.
func canonical(patterns []string) ([]string, string) {
	if len(patterns) == 0 || slices.Contains(patterns, ">") {
		return nil, ">"
	}
	patterns = slices.Clone(patterns)
	slices.Sort(patterns)
	patterns = slices.Compact(patterns)
	return patterns, strings.Join(patterns, ",") // no pattern has a comma
}

// each yields what the trie is to have of the topic.
func (t *topic) each(fn func(pattern string)) {
	if t.patterns == nil {
		fn(">")
		return
	}
	for _, p := range t.patterns {
		fn(p)
	}
}

// after returns the events in the queue above a revision.
func (t *topic) after(rev kv.Revision) []*kv.Entry {
	if n := len(t.queue); n == 0 || t.queue[n-1].Revision <= rev {
		return nil
	}
	i := sort.Search(len(t.queue), func(i int) bool { return t.queue[i].Revision > rev })
	return t.queue[i:]
}

// drop lets the events up to a revision go: whoever wants them reads the log.
func (t *topic) drop(rev kv.Revision) {
	n := sort.Search(len(t.queue), func(i int) bool { return t.queue[i].Revision > rev })
	if n == 0 {
		return
	}
	t.low = t.queue[n-1].Revision
	clear(t.queue[:n])
	if t.queue = t.queue[n:]; len(t.queue) == 0 {
		t.queue = nil
	}
}

// park puts a watcher that has seen everything aside.
func (t *topic) park(w *Watcher) {
	w.parked = len(t.parked)
	t.parked = append(t.parked, w)
	if len(t.parked) == t.watchers {
		t.queue = nil // all have seen it
	}
}

// unpark takes a watcher back.
func (t *topic) unpark(w *Watcher) {
	last := len(t.parked) - 1
	t.parked[w.parked] = t.parked[last]
	t.parked[w.parked].parked = w.parked
	t.parked[last] = nil
	t.parked = t.parked[:last]
	w.parked = notParked
}
