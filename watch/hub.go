package watch

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"sync/atomic"

	"kvd/internal/patterns"
	"kvd/kv"
)

// Hub is the watchers of one bucket. All methods are safe for concurrent use.
type Hub struct {
	log       Log
	budget    *Budget
	recentMax int         // bytes
	active    atomic.Bool // there are watchers

	mu struct { // guards the fields inside, topics and what of a Watcher says so
		sync.Mutex
		trie     patterns.Trie[*topic]
		found    []*topic // scratch of publishLocked
		topics   map[string]*topic
		watchers *Watcher    // a list
		count    int         // of watchers
		newest   kv.Revision // that was published
		turn     uint64      // counts records published
		recent   []recent    // what the queues hold, oldest first
		held     int         // bytes of it
		closed   error       // why there are no watches any more
	}
}

// recent is an event in a topic's queue.
type recent struct {
	topic    *topic
	revision kv.Revision
	size     int
}

const (
	// recentMax bounds what is kept in memory for watchers, bytes a bucket: about
	// what a second of writes brings. Whoever is further behind reads the log.
	recentMax = 8 << 20
	// recentCost is what an event costs beside its key and value, bytes.
	recentCost = 256
	// eventMax is the largest event kept in memory, bytes: a larger one is read from
	// the log by each watcher.
	eventMax = 256 << 10
	// publishSlice is how many records are published per hold of the lock.
	publishSlice = 64
	// wakeInline is how many watchers a writer wakes itself; for more it starts a
	// goroutine.
	wakeInline = 4
)

// NewHub returns a hub without watchers.
func NewHub(log Log, budget *Budget) *Hub {
	return &Hub{log: log, budget: budget, recentMax: recentMax}
}

// Active reports whether there may be watchers. Whoever makes a record visible and
// finds this false afterwards need not publish it: a watcher that begins later
// starts with it.
func (h *Hub) Active() bool { return h.active.Load() }

// Publish tells the watchers of records that have become visible, in ascending
// order of revisions. Keys and values are the caller's again when it returns. One
// goroutine at a time calls it.
func (h *Hub) Publish(records []kv.Entry) {
	for len(records) > 0 {
		n := min(len(records), publishSlice)
		h.publishSlice(records[:n])
		records = records[n:]
	}
}

func (h *Hub) publishSlice(records []kv.Entry) {
	var woken []*Watcher
	h.mu.Lock()
	for i := range records {
		woken = h.publishLocked(&records[i], woken)
	}
	h.mu.newest = records[len(records)-1].Revision
	h.trimLocked()
	h.mu.Unlock()
	if len(woken) > wakeInline {
		go wakeAll(woken) // ends with the last of them
		return
	}
	wakeAll(woken)
}

func wakeAll(watchers []*Watcher) {
	for _, w := range watchers {
		w.wake()
	}
}

// publishLocked queues one record in every topic that it matches and somebody
// follows, and takes the watchers that wait there off their benches.
func (h *Hub) publishLocked(r *kv.Entry, woken []*Watcher) []*Watcher {
	var event *kv.Entry
	h.mu.turn++
	h.mu.found = h.mu.trie.Match(h.mu.found[:0], r.Key)
	for _, t := range h.mu.found {
		if t.matched == h.mu.turn {
			continue
		}
		t.matched = h.mu.turn
		woken = t.wake(r.Revision, woken)
		size := len(r.Key) + len(r.Value) + len(r.Headers) + recentCost
		if t.following == 0 || size > eventMax {
			t.skip(r.Revision)
			continue
		}
		if event == nil {
			event = own(r)
		}
		t.queue = append(t.queue, event)
		h.mu.recent = append(h.mu.recent, recent{t, r.Revision, size})
		h.mu.held += size
	}
	clear(h.mu.found)
	return woken
}

// own returns a copy of an entry that keeps nothing of the original's memory.
func own(r *kv.Entry) *kv.Entry {
	e := *r
	e.Key = strings.Clone(r.Key)
	e.Value = bytes.Clone(r.Value)
	e.Headers = bytes.Clone(r.Headers)
	return &e
}

// trimLocked lets the oldest events go where there are too many.
func (h *Hub) trimLocked() {
	n := 0
	for ; h.mu.held > h.recentMax; n++ {
		r := &h.mu.recent[n]
		r.topic.drop(r.revision)
		h.mu.held -= r.size
		*r = recent{}
	}
	h.mu.recent = h.mu.recent[n:]
}

// Watch begins a watch; see [kv.Bucket]. The patterns are valid and the options
// agree with each other.
func (h *Hub) Watch(ctx context.Context, patterns []string, o kv.WatchOptions) (*Watcher, error) {
	w := newWatcher(h, patterns, o)
	if err := h.join(w); err != nil {
		return nil, err
	}
	if err := w.begin(ctx); err != nil {
		w.finish(err)
		return nil, err
	}
	return w, nil
}

// join adds a watcher: its topic takes note of what is published from now on.
func (h *Hub) join(w *Watcher) error {
	patterns, name := canonical(w.query.Patterns)
	w.query.Patterns = patterns
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mu.closed != nil {
		return h.mu.closed
	}
	h.active.Store(true)
	t := h.mu.topics[name]
	if t == nil {
		if h.mu.topics == nil {
			h.mu.topics = make(map[string]*topic)
		}
		t = &topic{name: name}
		h.mu.topics[name] = t
		t.each(func(p string) { h.mu.trie.Add(p, t) })
	}
	t.watchers++
	w.topic = t
	w.next = h.mu.watchers
	if w.next != nil {
		w.next.prev = w
	}
	h.mu.watchers = w
	h.mu.count++
	return nil
}

// leaveLocked removes a watcher, and its topic with the last one.
func (h *Hub) leaveLocked(w *Watcher) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		h.mu.watchers = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	}
	w.prev, w.next = nil, nil
	h.mu.count--
	t := w.topic
	if w.parked != notParked {
		t.unpark(w)
	}
	if t.watchers--; len(t.parked) == t.watchers {
		t.queue = nil
	}
	if t.watchers > 0 {
		return
	}
	delete(h.mu.topics, t.name)
	t.each(func(p string) { h.mu.trie.Remove(p, t) })
	if h.mu.count == 0 {
		h.mu.recent, h.mu.held = nil, 0
		h.active.Store(false)
	}
}

// Close ends every watch, and those that are tried later, with this error. There
// may be many: a goroutine does it, and Close returns at once.
func (h *Hub) Close(why error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.mu.closed == nil {
		h.mu.closed = why
	}
	if h.mu.count > 0 {
		go h.finishAll(why)
	}
}

func (h *Hub) finishAll(why error) {
	for {
		h.mu.Lock()
		w := h.mu.watchers
		h.mu.Unlock()
		if w == nil {
			return
		}
		w.finish(why)
	}
}

// Stats describes a hub's watchers.
type Stats struct {
	Watchers int
	Lag      kv.Revision // revisions that the one furthest behind has not looked at yet
}

// Stats returns how many watchers there are, and how far they are behind of what
// was published: those that wait for an event are not.
func (h *Hub) Stats() Stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	st := Stats{Watchers: h.mu.count}
	for w := h.mu.watchers; w != nil; w = w.next {
		if seen := w.seen; w.parked == notParked && seen < h.mu.newest {
			st.Lag = max(st.Lag, h.mu.newest-seen)
		}
	}
	return st
}
