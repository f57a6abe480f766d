// Package bucket is kvd's storage engine: a directory of buckets with the
// semantics of package kv. A write is durable before it is acknowledged, except in
// buckets with sync=interval or storage=memory. [Open] opens a directory; the
// [Store] it returns implements kv.Store and kv.Transactor.
//
// # A directory
//
//	LOCK                 held by the process that has the store open; its pid
//	manifest.1 .2        which files the store has: package manifest
//	wal/                 the log: package wal
//	seg/                 the records, and files of large values: package segment
//	index/               images of the indexes of large buckets: package image
//	reserve              disk set aside for deletes and checkpoints
//	lost/                files found in seg/ that are not the store's
//
// # The write path
//
// All writes of all buckets take one path, so that one sync serves many of them:
//
//		queue → judge → reserve → log → sync → segments → index → answer
//		                                     │
//		                             durable ┘      visible with the index
//
//	 1. Callers queue mutations (write.go) and wait. The caller that finds the path
//	    idle becomes the leader (commit.go). It takes as many queued mutations as fit in
//	    one frame of the log: a group.
//	 2. The leader judges the condition of each mutation against the newest state, which
//	    includes the mutations before it in the group. It assigns revisions, and encodes
//	    the records of the mutations that pass (judge.go).
//	 3. It makes sure that log and segments have room.
//	 4. It appends one frame to the log and syncs the log (group.go). The records are
//	    durable once the sync has returned.
//	 5. It appends the same bytes to the active segments of the buckets: to their files, or in
//	    memory if the group touches more than eight buckets.
//	 6. It applies the records to the indexes, a slice at a time (publish.go). A record
//	    is visible once its slice of the index is unlocked.
//
// Durable comes before visible, so a crash never takes a record that a reader saw.
//
// Large values: a value of 768 KiB or more, as stored, is written to a file of its own by
// its caller, before the mutation is queued (values.go). The file and its name are durable
// before the frame with the record is written. So a large value is written once, log and
// segments get a small record that names the file, and other groups pass meanwhile. Up to
// four callers write at a time. Files of removed values are written to again, because that
// is twice as fast as new ones: up to twice the bytes of the largest log wait for that
// (spares.go), 256 MiB, and are removed when there are hardly any writes. Buckets in memory
// have no such files.
//
// Held tails: a write to each of many files would take most of such a group's time, so it is
// answered before them. The log has the records, and the segments hold them in memory, where
// reads find them (tails.go). At most 16 MiB are held. A goroutine writes what is held to the
// files, each after at most 100 ms if the disk keeps up. A checkpoint, the end of a segment, the
// closing of its file and a further write by a group of few buckets write it before they go on.
// If the write fails, the store is poisoned as if it were a group's own.
//
// Compression: in a bucket with compression, each caller compresses its value before
// it queues the mutation (package segment says how, and when it pays). Each record
// says whether its value is compressed, so an edit of the configuration concerns later
// writes only. The size limit of a bucket counts the stored bytes. The size limit of a
// value counts the bytes that the caller gave.
//
// Transactions: a transaction is one mutation of the queue, and a group takes all of it or none
// (txn.go). The judge decides which branch it is and judges the writes; where one is refused, a
// savepoint takes back what the others added to the group (savepoint.go). All its records are in
// one frame, which a crash leaves whole or not at all. They are applied while the locks of all its
// buckets are held (txnpublish.go), and its reads are looked up there too. So nobody sees a part
// of it, in no bucket, at the price that readers of these buckets wait: a put of an existing key
// takes about 1 µs. A transaction that writes nothing and depends on no record of its group is
// answered without the sync. Conditions on values are compared by the caller: the judge only
// checks that the value is still the one that was compared.
//
// sync=interval: a group whose buckets all have it is not synced. Its frame shares a
// page of the log with the frame before. A timer, or any other sync of the log, makes
// it durable within the interval (interval.go). Its records are visible at once, and
// conditions see them. The records of all other buckets are visible only after their
// sync.
//
// storage=memory: the records of such a bucket are encoded beside the frame, and go to
// segments in memory. A group with no other records needs no frame and no sync
// (memory.go). Operations that create, edit or delete such a bucket are logged. Each
// open makes the bucket anew: empty, and with an id that no bucket had before. An open
// that has to be read-only leaves the id as it is. The revisions go on above all that were
// told: an operation of the log allows 2^20 of them at a time, before the first is issued.
// A watch that resumes at an old one gets kv.ErrCompacted.
//
// Operations: a change of a bucket as a whole is an operation in the same log. Examples
// are its creation, an edit, and a purge-deletes. control.go has the steps, and package
// journal the format. An operation holds the outcome of the decision, not the request,
// so replay needs neither the clock nor the configuration.
//
// # Times to live
//
// A record expires by the TTL of its bucket or by its own deadline (expire.go). It is
// invisible from that instant: readers and the judge compare it with the store's time
// (clock.go). A write to an expired key first writes the expiry marker of that key. The
// sweep (sweep.go) writes all other expiry markers. Its mutations take the write path
// with low priority: a group takes as many of them as take about as long as its sync
// (share.go). Operations record how far the sweep has come. A decision that depends on
// which records exist, such as a shorter history, sweeps first. So the result of a call
// never depends on whether the sweep has run. Counts may lag by a second, and so may
// the room that expired values take in a bucket with a size limit.
//
// A wall clock that is more than a day ahead when the store is opened may be wrong. What
// expired by this leap alone is invisible, and is not removed before somebody accepts the
// clock or as much time has passed (clock.go, waits.go).
//
// A crash may come after readers saw a key expire and before the sweep. The key stays
// expired, unless the wall clock is set back to a time before that instant while the
// store is closed: the store's time never falls below the newest time on the disk, and
// that is the time of the newest write.
//
// In a bucket without markers (a message log) no record has a deadline of its own, and
// records expire by the TTL without a marker. A write finds an expired key absent. The
// sweep logs only two revisions: all records up to the first have expired, and the
// second is the newest of them that was the last record of its key. Watches that resume
// need the second.
//
// # Message logs
//
// An append is a put whose key is derived from its revision, when it is judged
// (append.go). A trim removes the oldest records of a message log. It logs the same
// operation as the sweep, and the two never run at once (trim.go). It goes through the
// records in the order of revisions, and starts at the first that exists, which it
// remembers. Up to 256 records leave the index in one step. A larger trim takes several
// rounds, and a crash leaves each round whole or not begun. A trim removes what was in
// excess when it began. Records that are written meanwhile count for the next trim.
//
// # Decisions about many keys
//
// A purge-deletes or a shorter history concerns any number of keys and is one operation
// of the log. It changes the rules of liveness (package manifest), and the rules hold at
// once for readers, listings, watches, conditions and floors. A purge-deletes surveys
// the keys before its operation. Afterwards both remove dead records from the index, a
// few keys at a time between groups of writers. Until that is done, readers apply the
// rules to the records that they find, and a mutation first applies them to its own key
// (rules.go). Counts over all keys are right by the time the call returns. After a
// crash in between, Open applies the rules.
//
// # Imports
//
// An import (import.go) makes a bucket of records that have revisions and times already. They
// take the write path, a batch of 256 KiB at a time, so that other writers wait for no more. The
// bucket is hidden until an operation reveals it: it has an id and no name. The name is looked up
// when the bucket is revealed, so that a bucket of that name can serve until then. A hidden bucket
// is not swept and not compacted. An open removes the hidden buckets that the log does not reveal,
// unless it found damage.
//
// # Digests
//
// The index of each bucket keeps the digest of its records (package kv/digest): two buckets with
// one digest have the same records. It is compared when an import is committed, Status shows it,
// and the manifest has it as of the bucket's position, where package verify compares it with the
// segments. Records that have expired or were trimmed leave the index a few at a time, after the
// operation that says so. In between the digest is not known (digest.go).
//
// # Recovery
//
// For each bucket the manifest has a position of the log: the segments hold everything
// up to it. The manifest also has the length of each segment: bytes beyond it do not
// exist. Open reads the index blocks of the segments (claim.go, load.go). It replays the
// log behind those positions through the second half of the write path (replay.go). It
// writes a checkpoint (checkpoint.go) before it serves (recover.go). A second recovery,
// or a crash in the middle of one, ends in the same records. After the replay Open removes the
// value files that no record names: a crash took their mutations, or removed their records
// before.
//
// A clean close writes an image of the index of each bucket with many keys (images.go,
// Options.ImageKeys). The next open reads the image instead of the index blocks, if the manifest
// says of the bucket what it said at the close. If it says anything else, or the image is
// missing or damaged, the index blocks are read. So nothing depends on images; a write that
// finds the disk full removes them.
//
// After a crash the store has every acknowledged write, with its revision. A frame that
// was being written exists as a whole or not at all. Nothing else exists. A torn frame
// was never acknowledged, and its revisions may be issued again.
//
// In buckets with sync=interval a crash may take the frames of the last interval: a
// prefix of the frames remains, in the order of the log. The lost revisions were
// announced to clients, so they are not issued again. Unless the manifest says that the
// store was closed in good order, such a bucket continues 2^20 revisions higher. A sync
// is forced before that many revisions wait for one. Status shows the revision from
// which the bucket continues. A watch that resumes behind one of the skipped revisions
// may have seen records that are lost, so it gets kv.ErrCompacted.
//
// # Faults
//
//   - A damaged record is an error of its key: a *kv.CorruptError with file and
//     offset. A checksum that fails never truncates or removes anything.
//   - A value file that is damaged or missing is a damaged record. If it cannot be written, the
//     mutation is refused, and nothing else is affected.
//   - A damaged index page loses nothing: the records are read instead. Records that are
//     missing from a segment, or with a segment that is missing, put their bucket in doubt
//     up to the last of them, and no other bucket (load.go). A segment with any damage is
//     not appended to again, and an open that found damage removes no file.
//   - Damage to the synced part of the log is a hole, and replay goes on behind it. After a
//     kill the segments have what the hole held, behind the end that the manifest names: it
//     is read from there before anything is written (evidence.go, fill.go). The files lack
//     tails that were held, so a damaged frame of the last 100 ms that touched more than eight
//     buckets may leave these in doubt. Package hole
//     decides what is missing then, and of which buckets; these are in doubt. An operation is
//     in the log twice, so damage to one page of it loses none. If both copies are lost, the
//     buckets that it may have concerned are in doubt as a whole, and so is the set of
//     buckets. After a clean close the log is not needed, and damage to it is a note.
//   - Any error after the write of a frame has begun makes the store read-only
//     (failure.go). Waiting writers learn that the outcome is unknown, and nothing is
//     tried again. The store's log messages name what buckets with sync=interval had
//     acknowledged since the last sync.
//   - A store on a file system that is mounted read-only is recovered in memory, and serves
//     reads: Open tries again on an overlay of the files when a call returns EROFS.
//   - A file that cannot be opened because the process, or the system, may not have more of
//     them is no fault: the store closes a file that it can open again, and if there is none,
//     the call is refused with kv.ErrTooManyFiles before anything is written.
//   - A segment that the system refuses to map is read without a mapping.
//   - If the directory is removed or replaced under the store, the store becomes read-only.
//     It looks at the path of the log's file once a second while there are writes, at each
//     rotation of the log, and before it writes files by their names (place.go). Writes of
//     the last second before that may be lost.
//   - A full disk is met earlier, when room is reserved. The log first gives back what it
//     can: it moves to a small file, and a checkpoint releases the others (settle.go). If
//     that is not enough, puts are refused. Reads continue, and deletes and checkpoints use
//     the reserve (reserve.go).
//
// A file system that copies what is overwritten (btrfs, ZFS, bcachefs, XFS under a snapshot)
// needs room for each write to a used log file, and for the rest of a page that a segment
// or the manifest goes on with. If such a write finds the disk full, a part of the reserve is
// freed and the write is repeated; puts are refused until the reserve is whole. An open does
// the same. If the reserve is used up, a frame of the log is withdrawn and its mutations are
// refused. Only a full disk that is met at a sync, or after the frame with the reserve used up,
// makes the store read-only.
//
// # Open files
//
// A store has at most Options.MaxFiles files open (files.go). Some thirty are the lock, the
// log, the manifest, directories, and what reads, scans and a compaction open for a moment.
// Directories stay open, because a sync that first needs a descriptor could fail for want of
// one. All others are the newest segments of buckets that are written to (warm.go). Where more
// buckets are written to than that, the coldest file is synced and closed, and opened again
// for the next write to it, or by the next checkpoint. The sync is needed because a system may
// forget that it could not write a page of a file that nobody has open. A group takes no more
// buckets than files may be open.
//
// # Doubt
//
// Damage may take records of which nothing tells the keys. Then a bucket has a bound
// (doubt.go, package manifest): no record above it is missing. Reads compare it with the
// newest revision of their key. A key in doubt is a *kv.CorruptError: for reads, listings,
// histories and watches that would need what may be missing, and for conditions. Writes
// without a condition are taken. Decisions about many keys, such as a purge-deletes, are
// refused, and the sweep passes keys in doubt by. A record in doubt that is sound can be
// read by its revision. The doubt stands in the manifest and ends by AcceptLoss alone. The
// manifest also names the known records whose values are lost, up to 1,024 of each bucket.
//
// An open with an image reads no index pages but those of the segment that records are appended
// to, so it does not find damage to others. The index has all keys, and reads verify each record;
// compaction and the scrub find the damage.
//
// Damage that a read, a scan or a compaction meets in an open store is noted (note.go), and the
// next checkpoint writes it to the manifest. A scan reads the whole segment then, and a hole in
// it raises the bound. A watch that has to read the log ends with the error where records may be
// missing: to its client a gap means that nothing was there. An open reads the lost records
// again, and forgets those that it can read.
//
// With Options.Scrub a goroutine reads all segments once in a period (scrub.go): heads,
// values, index pages and the zeros in between, and counts the records. It reads 256 KiB at
// a time, or one large value, with pauses of hours or less in between, and pins a segment only while it reads. It reads
// through the page cache, so it does not see what the disk has in place of a page that is cached.
//
// # Compaction
//
// Trims, purges and expiry leave dead records in segments. Compaction removes them: it
// rewrites one segment, or a run of neighbours, into one or none. It runs in the
// background or by Reclaim. compact.go has the steps. Package compaction has the
// decisions: which segments are rewritten and which records may be removed. swap.go
// changes manifest and index; remove.go removes the files. Value files are not copied: the
// output names those of its records, and the others go with the inputs. A crash leaves the old
// segments or the new one. Readers of an old segment keep it as long as they need it.
//
// Compaction copies around damage (salvage.go). A damaged record that a newer one supersedes
// is left out. Any other is copied without its value: reads of it stay an error, and the
// manifest names it from the edit of the swap on. A hole stays in the doubt. If the system
// refuses to read a part that is needed, the segment stays as it is until the next open.
//
// Compaction yields to writers. It begins when a bucket takes 1.75 times the space that
// it needs, or when there are hardly any writes (lull.go). Its bytes a second are
// bounded (pace.go, compactor.go). Each round costs a checkpoint: a record may be dead
// because of a newer record that only the log has, and the manifest must cover the newer
// one before the dead one is removed.
//
// # Backups
//
// Store.Backup copies the store while it is used (backup.go). It makes a checkpoint that takes the
// state of all its buckets in one hold of the path, so that they are as of one position of the log,
// and pins all files that the manifest names then (heldcut.go). It reads and verifies them while
// writes, checkpoints and compaction go on. What was pinned and is not needed any more is removed
// afterwards. While there are writers it rests after each part as long as the part took. Package cut has
// what a copy consists of and how it becomes a store.
//
// # Room on the disk
//
// A new store takes 1.3 MiB: a log of one file of 256 KiB, and a reserve of 1 MiB. Under
// load the files of the log grow to 16 MiB, and four spares are kept. After five seconds at
// rest, and at a clean close, the log is one small file again (settle.go). The reserve is an
// eighth of the segments, from 1 to 64 MiB, and follows them at each checkpoint (reserve.go).
// At rest, compaction leaves 1.3 times the live bytes. So a store at rest takes at most 1.5
// times its live records and 8 MiB, and a closed one up to 80 bytes more for each key of the
// buckets with images, beside the key.
//
// # Snapshots
//
// Store.Snapshot shows buckets as they were at one moment (snapshot.go, frozen.go). It takes the locks
// of all of them, and then a snapshot of each index, a pin on each segment, the rules and the clock.
// Pinned segments stay readable after compaction has replaced them and after their bucket was deleted;
// outputs of compactions are pinned too, because a snapshot of the index shows where a record is now
// (held.go). So compaction does not wait for a snapshot, and the disk gets the room back when the
// snapshot is released. A snapshot does not end by itself: one that is older than ten minutes is
// logged, a store has at most 1,024, and Close ends them. Expiry is judged by the time of the snapshot.
//
// A group of more than 32 records, or of several buckets, becomes visible in slices. So a snapshot may
// lie between two mutations of one Submit, but never shows a mutation without those that were
// acknowledged before it began.
//
// # Lock order
//
//	Store.compacting → Store.checkpoint → Store.path → Store.mu → Bucket.mu → locks of watch.Hub
//	several Bucket.mu are taken in ascending order of ids, by snapshots and transactions
//	frozen.held is taken before Bucket.mu, by readers of a snapshot
//	heldSnapshots and heldSnapshot.mu are taken alone
//	warmFiles.mu is taken last; it is released while a file is opened, synced or closed
//	heldTails.mu is taken last
//	committer.mu is taken alone; code that holds Store.path does not take it
//
// No file is touched under Store.mu or Bucket.mu. Readers pin a segment under Bucket.mu,
// release the lock, and read. Store.path is held through a group's sync; only writers
// and the short steps of a checkpoint between two groups wait for it.
//
// # Why
//
// The leader is a caller's goroutine: a lone writer saves two handoffs, 13–18 % of
// its rate. From four writers on all ways of handing over are equal. There it counts
// that the writers that were just answered can join the next group (rejoinWindow):
// without it half of them share each sync. The window lasts 40 µs at most, not the 15 µs
// that a bare prototype needed: waking 63 writers takes about 30 µs on two cores.
// At 64 writers 15, 25 and 40 µs gave groups of 49, 54 and 61 puts and 25, 24 and
// 31 times the rate of the raw disk. They made no difference at 16 writers, where all
// are back sooner, and at 256 (BenchmarkPut, two interleaved runs each).
//
// Operations bypass the queue: each takes the path's lock in its caller's goroutine and
// writes frames of its own. They are rare, and a group with records before and after a
// change of configuration would have to be judged under both configurations.
//
// A damaged log makes the store read-only, and is still replayed into the segments. The
// replayed bytes lie beyond the lengths in the manifest, so nothing that exists is touched,
// and reads need no second way to values.
//
// The system begins to write segments while they grow (behind.go), because a sync of the log
// waits for what the disk writes at that time. Without that, a checkpoint's syncs had to write all
// bytes since the last one, some 40 MiB under load.
//
// A goroutine of the background, and the caller of a large value, yield right before calls that
// may take long (vfs.Yield has the reason). A compaction also yields after some 50 µs of work
// (turns.go), and after each slice of the index that it changes: the p99.9 of 64 and 256 writers
// falls by an eighth. A yield after every 8 KiB of records that it keeps made no difference, because
// most of its work is records that it does not keep. A listing yields after 1,024 keys: beside it 64
// writers make a tenth more puts, with a p99.9 of two thirds.
//
// Mutations are judged 32 per hold of the bucket's lock. With a hold for each, a slice of the index
// that a compaction moves came between any two judgements, and the p99.9 of 256 writers was 2.5
// times as high.
//
// With eight buckets or fewer the files are written to before the answer, because that takes 0.2 µs
// a record, and because the files are evidence if the log is damaged. The writes of a group to many
// files took a third of the leader's processor time, and waited for the file system's journal
// besides: each file gets a new time of its last change. Held, 64 writers of 1,000 buckets reach
// 0.74 of their rate in one bucket instead of 0.59 (medians of three runs, BenchmarkPutBuckets).
//
// A file that becomes cold is closed alone. The alternative that lost is a checkpoint, which
// closes all files that are clean after it: 64 writers of 10,000 buckets reached 5,000 puts a
// second with 1,024 files, and waited 200 ms at p99. They reach 14,000 now, and wait 10 ms;
// with a file for each bucket 56,000, and 90,000 in 1,000 buckets (BenchmarkPutBuckets).
// Up to 32 files are closed at a time, because their syncs share commits of the file system's
// journal.
//
// Large values have files of their own for three reasons. Written through the log they are
// written twice, and three or four times where a frame needs a new log file, so at most at
// half the rate of the disk. A group waits for the whole value of one of its members. And
// compaction copies them. One writer of values of 512 KiB is a third faster through the
// log. At 1 MiB both are level, and other writers wait a fifth as long beside files
// (BenchmarkPutLarge). 768 KiB lies between.
//
// A backup has no frames of the log. The alternative is to copy the manifest of the last checkpoint
// and the frames since: the log's files would have to be held while they are copied, which may take
// long if the target is slow, and a backup of some buckets would have to encode frames anew without
// the others. A checkpoint whose buckets are captured together needs none of this. It costs writers
// one longer hold of the path, in which every bucket's files are pinned.
//
// Package index explains the layout of its tree.
package bucket
