// Package watch delivers a bucket's changes to those who asked for them: each
// watcher gets the entries it begins with, a signal, and then every change that
// matches its patterns, in the order of revisions, once.
//
// # The log is the queue
//
// A watcher is a set of patterns and a position: the revision up to which it has
// looked at everything. What comes after it stands in the bucket's log of records
// ([Log], which package bucket implements), so nothing has to be kept for a
// watcher that is slow. The newest events are kept in memory besides, once for all
// watchers of the same patterns: a [topic].
//
//	                 ┌ trie ► topic "a.*"   queue: events 41 43      parked: w1 w2
//	Publish(41 … 45)─┤                      low: 0                   behind: w3 (at 17)
//	                 └        topic ">"     queue: events 41 … 45    parked: —
//	                                        low: 40                  following: w4 (at 43)
//
// Of a topic the queue has every matching event above low, less those that all who
// take from it have seen; where nobody does, low moves along and nothing is queued.
// A watcher
//
//   - at low or above it takes from the queue;
//   - below it reads the log from its position, until it has come up;
//   - that has seen everything is parked with its topic and costs nothing but its
//     memory. The next record that matches takes all that are parked there, and
//     moves their positions to just before itself: nothing between matched.
//
// A writer pays for what its record matches: the trie finds the topics by the
// key's tokens, an event is copied once, and the watchers that slept are woken, by
// a goroutine if there are many. It never waits for a watcher. What the queues of a
// hub hold is bounded (recentMax); the oldest go first and raise their topic's low.
//
// # How a watch begins
//
// The watcher joins its topic first, so that everything published afterwards is in
// the queue or raises low, and then selects its initial entries as of some revision
// R: a record is published after it became visible, so nothing falls between. What
// the queue has up to R is passed over.
//
// The initial entries are references (24 bytes) in the order of revisions, in
// rounds if they are many ([Budget]). Each is loaded when its turn has come. A record
// that was superseded by then may be gone; then the watcher gets its successor,
// which comes with the changes after R, and the signal waits for the revision that
// was the newest when the last reference was loaded.
//
// # Ends that were forgotten
//
// A client that resumes, or that was sent an old record, knows keys. If the last record
// of such a key is removed without a newer one, the watch ends with kv.ErrCompacted: a
// client that was told nothing would keep the key for ever. So whoever reads the log
// looks at what was forgotten at the moment that its result shows, never before it: a
// selection under the lock under which it looks at the index, or after its last record;
// a laggard before it reads and again after it; the end of the initial entries once
// more, if some of them did not come.
//
// # Who runs
//
// Nobody, while a watcher is parked. Events are taken by [Watcher.Poll] in its
// caller's goroutine; [Watcher.Updates] has a goroutine poll for it that ends
// whenever there is nothing more.
//
// # Why
//
// Queues for each topic, and not one for the bucket: 10,000 watchers of a key each
// would have to step over each other's events. One for each set of patterns, and
// not one for each watcher: a thousand watchers of the same keys share them, and
// are woken by moving a list.
//
// Parking by a list of the topic instead of a condition variable or channel for
// each watcher: 100,000 of them cost a few hundred bytes each and no goroutine.
//
// A laggard gets superseded records too, as long as compaction has left them: that
// is more than NATS promises, and cheaper than asking the index for each.
package watch
