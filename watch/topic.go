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
	name      string // the patterns, as canonical spells them
	watchers  int
	parked    []*Watcher // who has seen everything; waiting for the next event
	following int        // watchers that take from the queue and are not parked
	queue     []*kv.Entry
	low       kv.Revision // queue has every matching event above it that a follower has not seen
	matched   uint64      // Hub.turn when a key matched last: once a record, however many patterns do
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
	for p := range strings.SplitSeq(t.name, ",") {
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

// skip makes the queue begin behind a revision: who has not seen everything up to
// it reads the log.
func (t *topic) skip(rev kv.Revision) { t.queue, t.low = nil, rev }

// follow makes a watcher one of those that the queue is for, and reports false if
// it is behind what the queue has.
func (t *topic) follow(w *Watcher) bool {
	if w.position.Revision < t.low {
		t.leave(w)
		return false
	}
	if !w.following {
		w.following = true
		t.following++
	}
	return true
}

// leave undoes follow. The queue goes with the last.
func (t *topic) leave(w *Watcher) {
	if w.following {
		w.following = false
		t.following--
	}
	if t.following == 0 && len(t.queue) > 0 {
		t.skip(t.queue[len(t.queue)-1].Revision)
	}
}

// park puts a follower aside that has seen everything.
func (t *topic) park(w *Watcher) {
	w.parked = len(t.parked)
	t.parked = append(t.parked, w)
	t.leave(w)
}

// wake takes all parked watchers off the bench for an event of that revision, and
// appends them to woken.
func (t *topic) wake(rev kv.Revision, woken []*Watcher) []*Watcher {
	for _, w := range t.parked {
		w.parked = notParked
		w.position = Position{Revision: max(w.position.Revision, rev-1)} // nothing before it matched
		w.following = true
	}
	t.following += len(t.parked)
	woken = append(woken, t.parked...)
	clear(t.parked)
	t.parked = t.parked[:0]
	return woken
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
