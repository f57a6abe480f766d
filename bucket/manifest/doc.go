// Package manifest is the on-disk format of a store's manifest and the rules of
// liveness that it holds. The manifest says which segment files a store has, how
// long each of them is, and up to which position of the log a bucket's segments
// hold everything. It is the only authority: a file or a byte that it does not name
// does not exist. The value files are named by the records in the segments.
//
// # A store's directory
//
//	LOCK                 held by the process that has the store open; its pid
//	manifest.1 .2        the two copies of the manifest
//	wal/                 the log: package wal
//	seg/                 the segments and value files: package segment
//	reserve              disk set aside for deletes and checkpoints on a full disk
//	lost/                files that Open found in seg/ and that are not the store's
//	restoring            a restore into the directory has not ended: no store opens it
//
// # Format
//
// A manifest is a log of edits in two copies. Numbers of fixed size are
// little-endian. A copy is a header and records, each of which begins at a multiple
// of 8 bytes:
//
//	┌────────────┬──────────┬──────────┬─ ─ ─
//	│ header, 56 │ record 1 │ record 2 │
//	└────────────┴──────────┴──────────┴─ ─ ─
//	             │
//	             ├ head, 16 ┬ body, padded with zeros to 8 ┤
//
// The header:
//
//	offset  size  field
//	0       8     magic "kvdMANIF"
//	8       4     format version: 2
//	12      4     features in use, a bit each; none is defined
//	16      16    store id, random
//	32      8     seed of the checksums of all records in log and segments, random
//	40      8     generation: each rewrite of the manifest raises it by one
//	48      8     XXH64 with seed 0 of the 48 bytes before
//
// A record:
//
//	offset  size  field
//	0       4     length of the body in bytes, without padding; at most 2^30
//	4       4     zero
//	8       8     XXH64 of bytes 0 to 7 and the body. Its seed is the checksum of the
//	              record before, or of the header for the first record
//	16      …     body: an edit, padded with zeros to a multiple of 8
//
// The checksums form a chain: a record counts only behind all its predecessors.
// Padding is not checked.
//
// # Edits
//
// The body of a record is a sequence of parts. A part is a tag and the numbers that
// belong to it, each a uvarint of package encoding/binary. Revisions, LSNs and
// times (Unix time in ns) are such numbers as well.
//
//	tag  numbers
//	1    log position: segments hold every frame of the log up to this LSN
//	2    clock: no record of the store is younger than this time
//	3    file numbers: segments and value files get numbers from this one on; a file with
//	     a lower number that neither a bucket nor a record names is left from unfinished
//	     work
//	4    highest id that any bucket was ever given
//	5    a bucket, as below; it replaces the bucket of that id
//	6    id of a bucket that was deleted
//	7    prefix of the next part 5, if not 0: the highest revision of a record that
//	     was the newest of its key when compaction removed it
//	8    no number. The store was closed in good order; void once an edit follows
//	9    prefix of the next part 5, any number of times, ascending: two revisions.
//	     Those between them were announced to readers and skipped after a crash
//	10   prefix of the next part 5: Doubt.Bound; 1 if Doubt.Unknown, else 0
//	11   prefix of the next part 5, any number of times, ascending by UpTo: a Hole.
//	     After, UpTo, Records, Offset + 1, length of File in bytes (at most 4,096), File
//	12   prefix of the next part 5, any number of times, ascending: a LostRecord.
//	     Revision, length of Key in bytes, Key
//	13   State.LostOperations
//	14   words of the log's frame behind the position of part 1, if not all 0: records,
//	     sum, operations and two filters (packages wal and journal)
//	15   prefix of the next part 5, any number of times: a Hole that was accepted, as in
//	     part 11
//	16   no number. seg/ may have value files, which are written before the records that
//	     name them (package segment). Programs that do not know this part would take them
//	     for strays
//	17   prefix of the next part 5: Bucket.Digest, its high and its low half
//	18   prefix of the next part 5, no number: Bucket.Hidden
//
// A bucket is these numbers:
//
//	id, at least 1
//	life, 1 to 2^53 - 1
//	time of creation
//	log position: segments hold every mutation of the bucket up to this LSN
//	next revision, at least 1. Of a bucket in memory: no revision from this one on
//	    was issued
//	number of keys with a record, a hint for the size of the index
//	Liveness: ExpiredUpTo, PurgedDeletes.UpTo, PurgedDeletes.MarkersUpTo,
//	    MarkersExpiredUpTo, UnmarkedUpTo
//	number of cuts; for each: UpTo, Keep (1 to 64)
//	length of the configuration in bytes, then the configuration as JSON
//	number of segments; for each: file number, size in bytes, offset of the last
//	    index block, limit in bytes, 1 if sealed else 0, highest revision of a
//	    record that compaction left out of it (0: none), number of its records,
//	    sum of their head checksums mod 2^64, first and last revision (0: none)
//
// The digest (package kv/digest) is that of the records which are live by the floors and the
// Liveness, as of the log position. It is left out where it was not known: records that the
// rules remove were still to be removed from the index, or the bucket is in doubt.
//
// A hidden bucket is one that is being imported. The log may commit the import behind the
// position of part 1. If it does not, the bucket is removed at the next open.
//
// Segments are in ascending order of revisions. Each but the last is sealed, or is
// treated so.
//
// The configuration is a JSON object with every default filled in: bucket,
// description, history, ttl, marker_ttl, max_value_size, max_bytes, storage,
// compression, sync, sync_interval, metadata and silent. Durations are in ns, sizes
// in bytes; storage and sync are the numbers of package kv. Readers ignore
// fields that they do not know: a later version may add fields and must not change
// the meaning of one.
//
// # Writing
//
// The first record is a whole state. A record is appended to copy 1, which is
// synced, and then to copy 2, which is synced ([Writer.Append]). Once the edits take
// four times the space of the state, both copies are replaced ([Rewrite]): each is
// written and synced under a temporary name, and then they are renamed, one after
// the other. Every Open replaces both as well. So a crash leaves at least one copy
// whole.
//
// # Reading
//
// The copy that counts is the one of the higher generation that has a valid header
// and first record; of two copies of one generation, the one with more valid
// records.
//
//   - Zeros behind the last valid record are reserved room: no damage.
//   - Other bytes that are no valid record end the copy. They are the trace of a
//     crash if the copies differ as the order of writing makes them differ:
//     copy 1 is cut off and copy 2 has the same records, or copy 2 is cut off
//     and copy 1 has one record more or is of the next generation. Otherwise they
//     are damage. Damage to one copy is reported; the other copy serves.
//   - A copy whose magic, header checksum or first record is wrong does not count.
//     If that is so of both copies, or of one where the other is missing, nothing can
//     be read: kv.ErrCorrupt.
//   - An unknown version, feature or tag is kv.ErrVersion, whatever the other copy holds: a
//     newer program wrote it, and an older state must not be served.
//   - A length or count is compared with the bytes left before anything is allocated.
//     Ids, revisions, cuts, segments and configurations that no store decides are
//     damage.
//
// # Example
//
// A manifest of two records. The first says that file numbers from 65,537 on are
// free. The second says log position 300, highest id 2, and bucket 2 deleted.
//
//	0000  6b 76 64 4d 41 4e 49 46  02 00 00 00 00 00 00 00  magic, version
//	0010  00 01 02 03 04 05 06 07  08 09 0a 0b 0c 0d 0e 0f  store id
//	0020  88 77 66 55 44 33 22 11  01 00 00 00 00 00 00 00  seed, generation
//	0030  ec a4 02 b1 a0 28 28 ab  04 00 00 00 00 00 00 00  checksum; length 4
//	0040  ca 8a 53 a7 2b 34 f0 c3  03 81 80 04 00 00 00 00  checksum, tag 3
//	0050  07 00 00 00 00 00 00 00  2c 12 c7 d5 6d 04 34 b6  length 7, checksum
//	0060  01 ac 02 04 02 06 02 00                           tags 1, 4 and 6
//
// # Versions
//
//	1    never released; not read
//	2    this one
//
// In every later version magic, version, features and the checksum of the header stay
// where they are. A tag may be added within a version: programs that do not know it
// refuse such an edit with kv.ErrVersion.
//
// # Liveness
//
// A record is live if no rule removes it. There are two kinds of rules. A record
// itself carries a floor: older records of its key below that revision are removed.
// All other rules are a [Liveness], one for each bucket, and are part of its entry in
// the manifest:
//
//   - a record up to ExpiredUpTo is removed, unless it is the newest of its key and a
//     purge marker with a deadline;
//   - a purge marker with a deadline up to MarkersExpiredUpTo is removed;
//   - where the newest record of a key is a marker up to PurgedDeletes.UpTo, all
//     older records are removed, and the marker too up to PurgedDeletes.MarkersUpTo;
//   - for each [Cut], only the newest Keep of a key's live records up to UpTo stay.
//
// Every number of a Liveness only rises, a cut is replaced only by a tighter one, and
// every change is one operation of the log (package journal). So a removed record
// stays removed, whatever order crashes, operations and compaction come in. Recovery,
// the running store and compaction all ask this package; no other code knows the
// rules.
//
// # Doubt
//
// Damage may take records of which nothing tells the keys. A bucket's [Doubt] says up to
// which revision that may be so: the bound. The newest known record of a key is right
// if its revision is above the bound. Any other key may have had a newer record, so it is
// in doubt, and so is every key that is absent. A record that is known and only its value
// is lost puts nothing in doubt.
//
// The loss of records can be accepted. An open finds the holes of segments again, so the
// manifest keeps those that were accepted.
//
// The bound is written with the very edit that moves the position of the log, or that
// replaces a segment. So a crash never separates a loss from the knowledge of it.
//
// # Why
//
// A log of edits instead of one file that is replaced each time: a checkpoint of a
// store with many buckets writes the few that changed. Two copies: everything else of
// a store can be read around damage, but without the manifest nothing can.
//
// JSON for the configuration alone: it is small, rarely written, and gains fields
// with almost every version.
package manifest
