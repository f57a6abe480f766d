// Package bucket is kvd's storage engine: a directory of buckets with the
// semantics of package kv, durable before it is acknowledged. [Open] opens a
// directory; the [Store] it returns implements kv.Store.
//
// # A directory
//
//	LOCK                 held by the process that has the store open; its pid
//	manifest.1 .2        which files the store has: package manifest
//	wal/                 the log: package wal
//	seg/                 the records: package segment
//	reserve              disk set aside for deletes and checkpoints
//	lost/                files found in seg/ that are not the store's
//
// # The write path
//
// Every write of every bucket goes down one path, so that one sync serves all:
//
//	queue → judge → reserve → log → sync → segments → index → answer
//	                                     │
//	                             durable ┘      visible with the index
//
// Callers hand in mutations (write.go) and wait. Whoever finds the path idle
// leads (commit.go): it takes what is queued, as much as fits one frame of the
// log; judges each mutation's condition against the newest state including the
// mutations before it, and encodes the records of those that pass (judge.go);
// makes sure that log and segments have room; appends one frame and syncs it;
// appends the same bytes to the buckets' active segments (group.go); and applies
// them to the indexes (publish.go). A record is durable when the sync has
// returned and visible once its slice of the index is unlocked, in this order,
// so nothing that a reader saw is ever lost.
//
// Values of a bucket with compression are compressed before they are handed in,
// each by its writer (package segment says how and when it pays). A record says
// whether its value is: an edit of the configuration concerns later writes alone.
// The limit of a bucket counts what is stored, that of a value what is given.
//
// A group of which every bucket has sync=interval is not synced: its frame is
// packed behind the one before, and a timer, or whatever else syncs the log, makes
// it durable within the interval (interval.go). Its records are visible at once,
// to conditions too. Nothing of another bucket ever is before its sync.
//
// Records of a bucket with storage=memory are encoded beside the frame and go to
// segments in memory; a group that has no others takes no frame and no sync
// (memory.go). What makes, edits or deletes such a bucket is logged. Every open
// makes it anew, empty, with an id that no bucket had; one that has to be read-only
// leaves it its id.
//
// What changes a bucket as a whole, such as creating or editing it or forgetting
// its markers, is an operation in the same log (control.go; package journal has the format). An operation
// carries what was decided, not what was asked: replay consults neither the
// clock nor the configuration.
//
// # Times to live
//
// Records die by their bucket's TTL or a deadline of their own (expire.go), and are
// invisible from that instant: readers and the judge compare with the store's time
// (clock.go), and a write to a key that has expired writes its expiry marker first.
// The sweep (sweep.go) writes the markers of all others, down the write path like
// any mutation but with patience: a group takes so many of them along as take about
// as long as its sync (share.go). Operations say how far it came. What depends on which
// records there are, such as a shorter history, sweeps first. So no outcome tells
// whether the sweep was there. Counts may lag by a second, and so may the room
// that an expired value holds in a bucket with a size limit.
//
// A crash that comes between an instant at which readers saw a key expire and the
// sweep leaves it expired, unless the wall clock is set back meanwhile to before
// that instant: the newest time on the disk, below which the store's time never
// falls, is that of the newest write.
//
// In a silent bucket no record has a deadline, and what its TTL has ended leaves
// without a marker: a write finds the key absent, and the sweep says no more than up to
// which revision all is dead, and which of those was the last of its key, for watches
// that resume.
//
// # Message logs
//
// An append is a put of a key that its revision makes, when it is judged (append.go).
// A trim drops the oldest records of a silent bucket by the sweep's operation, in the
// sweep's turn (trim.go): it finds them in the order of revisions, from the first that
// is left, which it remembers. Up to 256 leave the index in one moment; more go in
// rounds, each of which a crash leaves as a whole or not at all. It drops what there
// was too many of when it looked: what is written meanwhile is for the next.
//
// # Decisions about many keys
//
// A purge-deletes and a shorter history concern any number of keys and are one
// operation of the log: it changes the rules of liveness (package manifest), and
// what they make dead is dead from that instant, for readers, listings, watches,
// conditions and floors. Before it a purge-deletes surveys the keys, and after it
// both take what is dead out of the index, a few keys at a time between groups of
// writers; until that is done readers apply the rules to what they find, and a
// mutation first settles its own key (settle.go). Counts over all keys follow by the
// time the call returns. A crash in between leaves the rules, and Open applies them.
//
// # Recovery
//
// The manifest says, per bucket, up to which position of the log its segments
// hold everything, and how long each segment is; bytes beyond do not exist. Open
// reads the segments' index blocks, replays the log behind those positions
// through the second half of the write path, and writes a checkpoint
// (checkpoint.go) before it serves (recover.go, claim.go, load.go, replay.go). Running it twice, or crashing in
// the middle of it, ends in the same records.
//
// Every crash leaves: each write that was acknowledged, with its revision; of
// those on their way, all of a frame or nothing; and nothing else. A frame that
// was torn was never acknowledged, and its revisions may be issued again.
//
// Of buckets with sync=interval it may take the frames of the last interval: a
// prefix of them in the order of the log is left. Their revisions were told, so
// they are not issued again: unless the manifest says that the store was closed
// in good order, such a bucket goes on 2^20 revisions higher, and a sync is forced
// before as many wait for one. Status shows the revision it goes on from. A watch
// that resumes behind one of the revisions in between was told of what is gone, and
// gets kv.ErrCompacted.
//
// # Faults
//
//   - A damaged record is an error of that key, a *kv.CorruptError with file and
//     offset. Nothing is truncated or removed because a checksum failed.
//   - A damaged index block costs nothing: the records are read instead. A
//     missing segment makes its bucket read-only, and no other.
//   - Damage to the log below what was synced, or a log that begins above what
//     the manifest needs, makes the store read-only: nobody can know what it held.
//   - Any error once a frame's write has begun poisons the store (failure.go):
//     waiters learn that the outcome is unknown, and nothing is tried again. What
//     buckets with sync=interval had acknowledged since the last sync is named in
//     the log.
//   - A full disk is met before that, when room is reserved: puts are refused,
//     reads go on, and so do deletes and checkpoints on the reserve (reserve.go).
//
// # Compaction
//
// What trims, purges and expiry leave dead goes when its segment is rewritten: one
// segment or some neighbours become one, or none, in the background or by Reclaim.
// compact.go has the steps; package compaction has the decisions, which are the choice
// of segments and the rule about the records that may go;
// swap.go changes manifest and index; remove.go removes the files. A crash
// leaves the old segments or the new one. Readers of an old one keep it as long as
// they need it. A segment with damage in it stays as it is.
//
// It yields to writers: it starts when a bucket takes 1.75 times what it needs, or
// when hardly anybody writes (lull.go), and is bounded in bytes a second (pace.go,
// compactor.go). Each round costs a checkpoint, since a record may be dead by another that only the log
// has, and the manifest must know it before the dead one goes.
//
// # Lock order
//
//	Store.compacting → Store.checkpoint → Store.path → Store.mu → Bucket.mu → watch.Hub's
//	committer.mu is taken alone, or under Store.path by nobody
//
// No file is touched under Store.mu or Bucket.mu: readers pin a segment under
// Bucket.mu, let it go, and read. Store.path is held through a group's sync; only
// writers and the checkpoint's glances between two groups wait for it.
//
// # Why
//
// Leading in the caller's goroutine: a lone writer saves two handoffs, 13–18 % of
// its rate; from four writers up the styles of handing over are equal. Letting
// the writers just answered rejoin (rejoinWindow) is what counts there: without
// it half of them share each sync. The window lasts 40 µs at most, not the 15 µs
// that a bare prototype needed: waking 63 writers takes about 30 µs on two cores.
// At 64 writers 15, 25 and 40 µs gave groups of 49, 54 and 61 puts and 25, 24 and
// 31 times the rate of the raw disk; at 16 writers, where all are back sooner, and
// at 256 they made no difference (BenchmarkPut, two interleaved runs each).
//
// Operations bypass the queue: they take the path's lock in their caller's
// goroutine and write a frame of their own. They are rare, and a group with
// records before and after a change of configuration would have to be judged
// under both.
//
// A damaged log is still replayed into the segments up to the damage, although
// the store is read-only then: those bytes lie beyond what the manifest names, so
// nothing that exists is touched, and reads need no second way to values.
//
// One item of the index's tree per key instead of one per revision is explained
// in package index.
package bucket
