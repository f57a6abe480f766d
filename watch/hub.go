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

// Hub has the watchers of one bucket. All methods are safe for concurrent use.
type Hub struct {
	log       Log
	budget    *Budget
	recentMax int         // limit of the bytes in all queues
	active    atomic.Bool // true while there are watchers

	mu struct { // guards the fields inside, every topic, and the fields of Watcher that are marked so
		sync.Mutex
		trie     patterns.Trie[*topic]
		found    []*topic // scratch space of publishLocked
		topics   map[string]*topic
		watchers *Watcher // the head of a doubly linked list
		count    int      // number of watchers

		newest      kv.Revision // the newest revision that was published
		published   uint64      // number of records published
		recent      []recent    // the events in all queues, oldest first
		queuedBytes int         // sum of their sizes
		closed      error       // the error of Close; nil while the hub is open
	}
}

// recent is an event in a topic's queue.
type recent struct {
	topic    *topic
	revision kv.Revision
	size     int
}

const (
	// recentMax bounds the bytes that one bucket's queues keep in memory: about one
	// second of writes. Watchers that are further behind read the log.
	recentMax = 8 << 20
	// recentCost is the size of an event without its key, value and headers, in bytes.
	recentCost = 256
	// eventMax is the largest event kept in memory, in bytes. Each watcher reads
	// larger events from the log.
	eventMax = 256 << 10
	// publishSlice is how many records are published before the lock is released.
	publishSlice = 64
	// wakeInline is how many watchers a writer wakes itself. If there are more, it
	// starts a goroutine that wakes them.
	wakeInline = 4
)

// NewHub returns a hub without watchers.
func NewHub(log Log, budget *Budget) *Hub {
	return &Hub{log: log, budget: budget, recentMax: recentMax}
}

// Active reports whether there may be watchers. A writer makes its record visible
// first and then calls Active. If the result is false, the writer need not publish
// the record: a watcher that begins later finds it in its initial entries.
func (h *Hub) Active() bool { return h.active.Load() }

// Publish passes records that have become visible to the watchers, in ascending
// order of revisions. The hub copies what it keeps: the caller may reuse keys and
// values after Publish has returned. Only one goroutine at a time may call Publish.
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
		go wakeAll(woken) // ends when the last watcher is woken
		return
	}
	wakeAll(woken)
}

func wakeAll(watchers []*Watcher) {
	for _, w := range watchers {
		w.wake()
	}
}

// publishLocked appends one record to the queue of every topic that it matches and
// that has followers. It unparks the parked watchers of these topics and appends
// them to woken.
func (h *Hub) publishLocked(r *kv.Entry, woken []*Watcher) []*Watcher {
	var event *kv.Entry
	h.mu.published++
	h.mu.found = h.mu.trie.Match(h.mu.found[:0], r.Key)
	for _, t := range h.mu.found {
		if t.matched == h.mu.published {
			continue
		}
		t.matched = h.mu.published
		woken = t.wake(r.Revision, woken)
		size := len(r.Key) + len(r.Value) + len(r.Headers) + recentCost
		if t.following == 0 || size > eventMax {
			t.clearUpTo(r.Revision)
			continue
		}
		if event == nil {
			event = copyOf(r)
		}
		t.queue = append(t.queue, event)
		h.mu.recent = append(h.mu.recent, recent{t, r.Revision, size})
		h.mu.queuedBytes += size
	}
	clear(h.mu.found)
	return woken
}

// copyOf returns a copy of an entry that shares no memory with the original.
func copyOf(r *kv.Entry) *kv.Entry {
	e := *r
	e.Key = strings.Clone(r.Key)
	e.Value = bytes.Clone(r.Value)
	e.Headers = bytes.Clone(r.Headers)
	return &e
}

// trimLocked removes the oldest events while the queues are above their limit.
func (h *Hub) trimLocked() {
	n := 0
	for ; h.mu.queuedBytes > h.recentMax; n++ {
		r := &h.mu.recent[n]
		r.topic.removeUpTo(r.revision)
		h.mu.queuedBytes -= r.size
		*r = recent{}
	}
	h.mu.recent = h.mu.recent[n:]
}

// Watch begins a watch; see [kv.Bucket]. The caller must have checked the patterns
// and the options. It returns the error of Close once the hub is closed, and the
// errors of [Log.Select].
func (h *Hub) Watch(ctx context.Context, patterns []string, o kv.WatchOptions) (*Watcher, error) {
	w := newWatcher(h, patterns, o)
	w.query.Stale = kv.IsStale(ctx)
	if err := h.join(w); err != nil {
		return nil, err
	}
	if err := w.begin(ctx); err != nil {
		w.finish(err)
		return nil, err
	}
	return w, nil
}

// join adds a watcher. Its topic records what is published from now on.
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

// removeLocked removes a watcher. With the last watcher of a topic it removes the topic.
func (h *Hub) removeLocked(w *Watcher) {
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
		h.mu.recent, h.mu.queuedBytes = nil, 0
		h.active.Store(false)
	}
}

// Close ends every watch with the error why. Later calls of Watch return why too.
// There may be many watches: a goroutine ends them, and Close returns at once.
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
	Lag      kv.Revision // how many revisions the slowest watcher is behind the newest one
}

// Stats returns the number of watchers and how far the slowest of them is behind
// the newest published revision. Parked watchers are not behind.
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
