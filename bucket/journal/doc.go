// Package journal is the on-disk format of what the store writes to its log: the
// payload of a frame of package wal. A payload holds records of package segment, and
// operations, which change a bucket as a whole.
//
// # Format
//
// Numbers are little-endian. A payload is a sequence of items, each of which begins
// at a multiple of 8 bytes:
//
//	┌─────────┬──────┬─────────┬──────┬─ ─ ─
//	│ head, 8 │ body │ head, 8 │ body │
//	└─────────┴──────┴─────────┴──────┴─ ─ ─
//
//	offset  size  field
//	0       4     length of the body in bytes, without padding
//	4       2     kind
//	6       1     1 in the second copy of an operation, else 0
//	7       1     zero
//	8       …     body, padded with zeros to a multiple of 8
//
// The kinds:
//
//	1   Records        records of any buckets in the order in which they were decided
//	2   Create         a bucket is made
//	3   Edit           a bucket's configuration changes
//	4   Delete         a bucket is deleted
//	5   PurgeDeletes   markers up to a revision lose their history, or are removed
//	6   Expire         records up to a revision expired or were trimmed
//	7   ExpireMarkers  purge markers with a deadline up to an instant expired
//	8   Accept         the loss of records up to a revision is accepted
//	9   Issue          revisions of a bucket in memory up to one may be issued
//	10  Create         a bucket is made, hidden: an import begins
//	11  Reveal         the import of a hidden bucket is committed
//
// The body of kind 1 is records as package segment encodes them, one behind the
// other. The store writes them to segments as they are. The body of any other kind is
// one operation:
//
//	offset  size  field
//	0       8     id of the bucket
//	8       8     first argument
//	16      8     second argument
//	24      …     the configuration as JSON, for kinds 2, 3 and 10 only (package manifest)
//
//	kind  first argument                       second argument
//	2     time of creation, Unix time in ns    Bucket.Life
//	10    as kind 2                            as kind 2
//	3     Cut.UpTo, or 0                       Cut.Keep, or 0: no cut
//	4     0                                    0
//	5     PurgeDeletes.UpTo                    PurgeDeletes.MarkersUpTo
//	6     Liveness.ExpiredUpTo                 Liveness.UnmarkedUpTo
//	7     Liveness.MarkersExpiredUpTo          Liveness.UnmarkedUpTo
//	8     Doubt.Bound                          0
//	9     the revision                         0
//	11    revision of the last record, or 0    revision of the next record
//
// Package manifest has the meaning of these fields ("Liveness", "Doubt"). A bucket in
// memory may issue revisions up to 2^20 once it is made, without an operation of kind 9.
// A hidden bucket that no operation of kind 11 reveals is removed at the end of a replay.
// An operation
// carries what was decided and not what was asked for, so replay needs neither the
// clock nor the configuration of the time.
//
// An operation is written two times, as two frames with this one payload, on different
// pages of the log and under one sync. So a lost page never loses an operation. Each costs
// one page more of the log, also the operations of a sweep. Replay applies both frames:
// every operation sets something, or raises it, so the second time changes nothing.
//
// # Totals
//
// The words of a frame (package wal) are totals over all frames of the store's log before
// it, of every earlier file too. They are never set back:
//
//	records     number of records
//	sum         sum of the first checksums of these records, mod 2^64
//	operations  number of operations; one that is in two frames counts twice
//	before      the buckets that the frame before is about: a filter
//	recent      those that the 63 frames before that one are about: a filter
//
// A filter is a set of 64 bits. The bit of a bucket is the number in the highest 6 bits of
// its id times 0x9e3779b97f4a7c15, mod 2^64 ([FilterBit]). So buckets share bits: a filter
// without a bucket's bit proves that no such frame is about it. A vouching frame counts as
// a frame and has no bits. The manifest has the words of its position in the log. They do
// not name the 63 frames one by one, so after an open recent may have bits of frames that
// are up to 126 frames old. Replay counts again, and a frame with other words than it
// counted is damage of the log.
//
// # Reading
//
// The frame's checksum covers the payload, so a reader meets only what a store wrote.
//
//   - An item that is longer than the bytes left, or a body shorter than its fields,
//     is an error.
//   - An unknown kind is kv.ErrVersion: a newer program wrote it.
//   - A configuration or a cut that no store decides is an error.
//   - Arguments and padding that are zero today are not looked at.
//
// # Example
//
// A payload of two operations. Records of bucket 1 up to revision 3 expired, and none
// of them was the newest of its key; then bucket 2 was deleted.
//
//	0000  18 00 00 00 06 00 00 00  01 00 00 00 00 00 00 00  length 24, kind 6; bucket 1
//	0010  03 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  arguments 3 and 0
//	0020  18 00 00 00 04 00 00 00  02 00 00 00 00 00 00 00  length 24, kind 4; bucket 2
//	0030  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  arguments 0 and 0
//
// # Versions
//
// The format of the log's frames has the version (package wal).
package journal
