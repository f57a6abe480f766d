// Package watch delivers a bucket's changes to its watchers. Each watcher receives
// its initial entries, a signal, and then every change that matches its patterns,
// once and in the order of revisions.
//
// # The log is the queue
//
// A watcher is a set of patterns and a position: the revision up to which it has
// processed every record. Later records are in the bucket's log of records ([Log],
// which package bucket implements). So the hub keeps nothing for a slow watcher. In
// addition, the newest events are kept in memory, once for all watchers of the same
// patterns: in a [topic].
//
//	                 ┌ trie ► topic "a.*"   queue: events 41 43      parked: w1 w2
//	Publish(41 … 45)─┤                      low: 0                   behind: w3 (at 17)
//	                 └        topic ">"     queue: events 41 … 45    parked: —
//	                                        low: 40                  following: w4 (at 43)
//
// The queue of a topic has every matching event above low, except events that all
// its followers have seen. A topic without followers queues nothing, and its low
// rises with every matching event. A watcher is in one of three states:
//
//   - following: its position is at or above low, and it reads the queue;
//   - behind: its position is below low, and it reads the log until it reaches low;
//   - parked: it has seen every event. It costs nothing but its memory. The next
//     record that matches unparks all parked watchers of the topic. It moves their
//     positions to the revision before itself, because no record between matched.
//
// A writer pays only for the topics that its record matches. The trie finds them by
// the tokens of the key, each event is copied once, and the parked watchers are
// woken. If there are many, a goroutine wakes them. A writer never waits for a
// watcher. The queues of a hub are bounded together (recentMax): the oldest events
// are removed first, which raises low of their topics.
//
// # How a watch begins
//
// The watcher joins its topic first. Everything published afterwards is in the queue
// or raises low. Then the watcher selects its initial entries as of some revision R.
// A record is published after it has become visible, so no record is missed between
// the two steps. The watcher skips the events in the queue up to R.
//
// The initial entries are references of 24 bytes in the order of revisions. Many
// entries are selected in several rounds ([Budget]). Each entry is loaded just before
// it is delivered. A record that was superseded in between may be removed by then.
// In that case the watcher receives the successor, which is one of the changes after
// R. The signal waits for the revision that was the newest when the last reference
// was loaded.
//
// # Forgotten ends
//
// The end of a key is its last record: a marker, or a value that has expired or was
// trimmed. An end is forgotten when it is removed and no newer record of the key
// exists. A client that resumes, or that has received an old record, knows keys. If
// the end of such a key is forgotten, the watch ends with kv.ErrCompacted: without an
// error the client would keep the key for ever. So every reader of the log checks
// which ends are forgotten at the moment that its result shows, and never before it:
//
//   - A selection checks under the lock under which it reads the index, or after it
//     has read its last record.
//   - A watcher that is behind checks before it reads the log and again afterwards.
//   - The end of the initial entries checks once more if some entries were missing.
//
// # Goroutines
//
// A parked watcher has no goroutine. [Watcher.Poll] delivers events in its caller's
// goroutine. [Watcher.Updates] starts a goroutine that polls, and that ends whenever
// there are no more events.
//
// # Why
//
// There is a queue for each topic, not one for the bucket: otherwise 10,000 watchers
// of one key each would have to skip each other's events. There is one queue for each
// set of patterns, not one for each watcher: a thousand watchers of the same keys
// share it, and waking them moves one list.
//
// A topic has a list of parked watchers, not a condition variable or channel for
// each: so 100,000 watchers cost a few hundred bytes each and no goroutine.
//
// A watcher that is behind also receives superseded records, as long as compaction
// has not removed them. That is more than NATS promises, and cheaper than a lookup
// in the index for each record.
package watch
