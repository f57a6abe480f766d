package watch

import (
	"slices"
	"sort"
	"strings"

	"kvd/kv"
)

// topic is shared by all watchers of the same patterns. It has the newest events
// that match, and the parked watchers. Guarded by Hub.mu.
type topic struct {
	name      string // the patterns in canonical form
	watchers  int
	parked    []*Watcher // watchers that have seen every event and wait for the next one
	following int        // number of watchers that read the queue; parked ones are not counted
	queue     []*kv.Entry
	low       kv.Revision // the queue has every matching event above low that a follower has not seen
	matched   uint64      // Hub.mu.published at the last match: an event is queued once, even if several patterns match
}

// canonical returns the patterns sorted and without duplicates, or nil if they
// select every key. It also returns the name of their topic.
func canonical(patterns []string) ([]string, string) {
	if len(patterns) == 0 || slices.Contains(patterns, ">") {
		return nil, ">"
	}
	patterns = slices.Clone(patterns)
	slices.Sort(patterns)
	patterns = slices.Compact(patterns)
	return patterns, strings.Join(patterns, ",") // no pattern has a comma
}

// each calls fn for every pattern that the trie must have for the topic.
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

// removeUpTo removes the events up to a revision from the queue. Watchers that still
// need them read the log.
func (t *topic) removeUpTo(rev kv.Revision) {
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

// clearUpTo empties the queue, which then begins after rev. Watchers that have not
// seen every event up to rev read the log.
func (t *topic) clearUpTo(rev kv.Revision) { t.queue, t.low = nil, rev }

// follow counts a watcher as a reader of the queue. It returns false if the watcher
// needs older events than the queue has.
func (t *topic) follow(w *Watcher) bool {
	if w.position.Revision < t.low {
		t.unfollow(w)
		return false
	}
	if !w.following {
		w.following = true
		t.following++
	}
	return true
}

// unfollow undoes follow. Without followers the queue is emptied.
func (t *topic) unfollow(w *Watcher) {
	if w.following {
		w.following = false
		t.following--
	}
	if t.following == 0 && len(t.queue) > 0 {
		t.clearUpTo(t.queue[len(t.queue)-1].Revision)
	}
}

// park parks a follower that has seen every event.
func (t *topic) park(w *Watcher) {
	w.parked = len(t.parked)
	t.parked = append(t.parked, w)
	t.unfollow(w)
}

// wake unparks all parked watchers for an event of revision rev, and appends them
// to woken.
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

// unpark removes a watcher from the parked ones.
func (t *topic) unpark(w *Watcher) {
	last := len(t.parked) - 1
	t.parked[w.parked] = t.parked[last]
	t.parked[w.parked].parked = w.parked
	t.parked[last] = nil
	t.parked = t.parked[:last]
	w.parked = notParked
}
