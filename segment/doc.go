// Package segment stores the records of buckets in append-only files. It has the codec
// of records and index blocks, the active and the sealed [Segment], and reads through a
// mapping that are safe beside a writer and on a failing disk.
//
// A segment belongs to one bucket and holds an ascending range of its revisions.
// The active one is appended to, in place; a sealed one never changes again.
// A large value may be in a file of its own beside the segments, a value file.
// This page is the format, complete enough to write another reader.
//
// # A file
//
// All integers are little endian. A file is a header, then records back to back,
// interrupted by index blocks:
//
//	+--------+--------+-----+-------+---------------+--------+-----+-------+---------------+
//	| header | record | ... | zeros | index: page.. | record | ... | zeros | index: page.. |
//	+--------+--------+-----+-------+---------------+--------+-----+-------+---------------+
//	0        64                     4 KiB * n       4 KiB * m                              size
//	                                names all records since the block before, or since
//	                                the header
//
// Records begin at multiples of 8. Index blocks begin at multiples of 4,096, with zeros
// between the last record and the block, and consist of whole pages of 4,096 bytes. Appends
// continue behind the block. So one lost page of a disk takes records, or entries that name
// them, and never both. The store's manifest has the number of bytes that count, the place
// of the last index block, and the totals of the segment (see [Desc]); beyond that size a
// file may be longer and have any content. Its name is its number, 16 lower-case hex digits,
// with the extension ".seg".
//
// The checksums are xxhash64. Those of records and index pages start from the
// store's random 64-bit [Seed]; that of the file's header starts from 0.
//
// # The file's header
//
//	offset  size  field
//	0       8     magic: "kvdSEGM" and a line feed
//	8       4     version: 2
//	12      4     features: a set of bits, none defined yet
//	16      16    store id
//	32      8     bucket id
//	40      8     number of the segment
//	48      8     the store's seed, so that the file can be read without a manifest
//	56      8     checksum of bytes 0 to 55, seed 0
//
// # A record
//
//	+-----------+-----------+-----------------+---------+-----+---------+-------+-------+
//	| head sum  | body sum  | fixed fields    | options | key | headers | value | zeros |
//	+-----------+-----------+-----------------+---------+-----+---------+-------+-------+
//	0           8           16                56              |                         size
//	            |<------------- head sum covers ------------->|<--- body sum covers --->|
//
//	offset  size  field
//	0       8     head sum: checksum of everything from 8 to the end of the key
//	8       8     body sum: checksum of headers, value and the zeros after them
//	16      8     bucket id
//	24      8     revision; an erase has none of its own: chosen by the writer
//	32      8     created: unix time in nanoseconds, signed
//	40      8     floor: the oldest kept revision of the key after this record
//	48      4     length of the value as stored, at most 64 MiB
//	52      2     length of the key, 1 to 1,024
//	54      1     kind: operation in bits 0-3, reason in bits 4-5, bit 6 zero,
//	              bit 7 reserved: a further byte of the kind
//	55      1     flags, below
//	56      8     deadline: unix time in nanoseconds, signed, not 0; only with flag 1.
//	              Reserved: a lease; only with flag 32, which excludes flag 1
//	...     4     length of the headers, 1 to 65,536; only with flag 2
//	...     4     length of the value before compression, at most 64 MiB; only with flag 4
//	...     2     reserved: number in a transaction; only with flag 8
//	...     16    number (8) of the value file, at least 1, and checksum (8) of the value;
//	              only with flag 64
//	...     1     reserved: the further byte of the kind; only with bit 7 of the kind
//	...           key, headers, value
//	...     0-7   zeros, to a multiple of 8
//
//	flag  meaning
//	1     the record has a deadline
//	2     the record has headers
//	4     the value is compressed
//	8     reserved: the record belongs to a transaction
//	16    first: the key had no record when this one was written
//	32    reserved: a lease in place of the deadline
//	64    a value file has the value; its length, at least 4,096, is in this record
//	128   lost: value and headers were damaged and are gone; both are empty
//
// Operations are 1 put, 2 delete, 3 purge, 4 erase; reasons 0 none, 1 client,
// 2 expiry. The headers are opaque. A compressed value is one block of S2 (the format is that
// of github.com/klauspost/compress/s2, a superset of Snappy's blocks). The block contains its
// length before compression, which must equal that of the record. A record's bytes do not
// depend on its place, so the commit path encodes them once, for the log and the segment.
//
// A record is first of its key if the key had no record: none was written before, or all were
// forgotten by the bucket's rules, by an erase or by compaction, and their end is recorded in
// the bucket. So at a revision below a first record, and not below the bucket's forgotten
// ends, the key did not exist. An erase is neither first nor lost. A lost record has neither
// flag 2 nor flag 4, and the length of its value is 0. Only a put has flag 64.
//
// # An index page
//
//	offset  size  field
//	0       8     magic: "kvdINDX" and a line feed
//	8       8     checksum of: bucket id, number of the segment, offset of this
//	              page (8 bytes each, not stored here), and bytes 16 to 4,095
//	16      8     offset of the index block before; 0: this is the first
//	24      8     offset of the index block of this page
//	32      8     offset of the first record that this page names
//	40      8     number of the segment's records before that one
//	48      8     sum of their head sums, mod 2^64
//	56      8     sum of the head sums of the records that this page names
//	64      4     number of pages of the index block before; 0: this is the first
//	68      4     number of pages of the index block of this page
//	72      4     number of entries of this page, at least 1
//	76      4     length of the entries, bytes, at most 4,016
//	80            entries, one for each record from the first on, in file order
//	...           zeros, to 4,096
//
// An entry is, in this order: the kind byte of the record, with bit 6 set if it has a
// deadline, and bit 7 if a byte of flags follows; the flags of the record without 1, 2 and 4,
// only if they are not 0; size of the record divided by 8; length of the value as stored;
// revision minus that of the entry before; revision minus floor; created minus that of the
// entry before; with bit 6, deadline minus created; with flag 64, number of the value file;
// length of the key; the key. All but kind, flags and key are varints as in encoding/binary,
// the differences zigzag-encoded and modulo 2^64, the others unsigned; before the first entry
// of a page revision and created are 0. The offsets follow from the sizes. An entry is always
// smaller than its record, and never crosses the end of a page: the next page begins where an
// entry does not fit.
//
// # A value file
//
// The name of a value file is its number, 16 lower-case hex digits, with the extension ".val".
// Segments and value files share their numbers. A value file has one value, as its record would
// store it. It is written and synced before the record, and never changes:
//
//	offset  size  field
//	0       8     magic: "kvdVALU" and a line feed
//	8       4     version: 2
//	12      4     features: a set of bits, none defined yet
//	16      16    store id
//	32      8     bucket id
//	40      8     number of the file
//	48      8     the store's seed
//	56      8     checksum of the value, with the store's seed
//	64      4     length of the value
//	68      4020  zeros
//	4088    8     checksum of bytes 0 to 4,087, seed 0
//	4096          the value; what follows it does not count
//
// A record names one value file, and no two records with different revisions name the same. The
// checksum in the record decides whether the value is sound. The header is only needed to find
// out whose a file is.
//
// # A worked example
//
// Segment 2 of bucket 1, in a store with the id "0123456789abcdef" and the seed
// 0x0123456789abcdef, after one put of "greeting" = "hello" and an index block.
// Lines of zeros are left out; the last is the size.
//
//	0000  6b 76 64 53 45 47 4d 0a  02 00 00 00 00 00 00 00  kvdSEGM.........
//	0010  30 31 32 33 34 35 36 37  38 39 61 62 63 64 65 66  0123456789abcdef
//	0020  01 00 00 00 00 00 00 00  02 00 00 00 00 00 00 00  ................
//	0030  ef cd ab 89 67 45 23 01  cd 53 e4 85 88 51 79 d5  ....gE#..S...Qy.
//	0040  44 91 26 74 fb 28 35 8b  73 36 d5 80 fc 8b aa ef  D.&t.(5.s6......
//	0050  01 00 00 00 00 00 00 00  01 00 00 00 00 00 00 00  ................
//	0060  00 00 f3 23 84 5b d7 18  01 00 00 00 00 00 00 00  ...#.[..........
//	0070  05 00 00 00 08 00 01 10  67 72 65 65 74 69 6e 67  ........greeting
//	0080  68 65 6c 6c 6f 00 00 00  00 00 00 00 00 00 00 00  hello...........
//	1000  6b 76 64 49 4e 44 58 0a  49 ea 6b f1 33 1f 38 75  kvdINDX.I.k.3.8u
//	1010  00 00 00 00 00 00 00 00  00 10 00 00 00 00 00 00  ................
//	1020  40 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  @...............
//	1030  00 00 00 00 00 00 00 00  44 91 26 74 fb 28 35 8b  ........D.&t.(5.
//	1040  00 00 00 00 01 00 00 00  01 00 00 00 18 00 00 00  ................
//	1050  81 10 09 05 02 00 80 80  98 bf 84 e1 ad d7 31 08  ..............1.
//	1060  67 72 65 65 74 69 6e 67  00 00 00 00 00 00 00 00  greeting........
//	2000
//
// The record is at 0x40: its sums, bucket 1, revision 1, created 2026-09-21T14:13:20Z,
// floor 1, a value of 5 and a key of 8 bytes, kind 1 (put) and flag 16 (first). The index
// block at 0x1000 is one page. It has no predecessor, names the records from 0x40 on, and
// no record is before them; the sum of their head sums is the head sum at 0x40. It has one
// entry of 24 bytes: put with a byte of flags, first, 9*8 bytes, value of 5, revision +1, the
// same floor, created, key.
//
// # Invalid bytes
//
//   - Torn or stale: a write that a crash cut short is beyond the size in the manifest,
//     and the bytes there are ignored. A torn record within that size is corrupt.
//   - Zeroed or corrupt: a checksum does not match. If the head of a record does not match,
//     the record is lost. If only the body does not match, the value is lost, and the key
//     is known. [Segment.Read] returns a *kv.CorruptError. Nothing else is affected, and
//     nothing is changed.
//   - An index page that does not match is not used. Every other page is: the next page
//     names the place of the block before, and if a whole block is lost, the blocks before
//     it are found by reading every page. The records that the page named are found by
//     walking.
//   - Missing: the totals of a page are those of all records before it, and the manifest's are
//     those of the segment. Where a page that is lost leaves some records to a walk, the totals
//     on both sides say whether it found all of them, and nothing else: number and sum have to
//     agree. If they do not, the segment has a hole ([Hole]). No revision above its bound is
//     missing. A lost page alone is no hole: it has records, whose names are elsewhere, or names,
//     whose records are elsewhere. If totals disagree at several places, the hole reaches from
//     the first to the last, because a page of an earlier life of the file may lie between.
//   - Walking: where neither a record nor, at a multiple of 4,096, an index page of this
//     place is valid, the walk continues at the next multiple of 8, until one is. Zeros
//     before an index page belong to it. A record found in this way counts only if its
//     revision is above those before it.
//   - Impossible: an operation, reason, flag or length outside the tables above, under a
//     valid checksum, is a corrupt record. So is a zero field that is not zero.
//   - Later: a sound record or entry with something that is reserved, and a sound header with
//     another version or an unknown feature, are of another program. They are not damage:
//     kv.ErrVersion. Version 1 was never released; only its own program reads it.
//   - A damaged file header is reported, and the file is read all the same. If a sound
//     header names another store, seed, bucket or number, files were swapped, and the file
//     does not open. A file that is shorter than the size in the manifest opens, and what it
//     lacks is missing.
//   - A value file that is missing or too short, or whose value does not match the checksum in
//     the record, is a lost value. [Segment.Walk] and [Segment.Check] report a damaged header
//     too; reads do not look at it. A longer file is sound.
//   - A page that the disk cannot read is treated as corrupt, and the report has the
//     system's error.
//
// # Versions
//
//	1  before the first release
//	2  index blocks of whole pages that can be used alone, with totals; features; the seed
//	   in the header; flags 16 and 128, and what is reserved
//
// Flag 64 was reserved in version 2 and came later, with value files. The manifest says that a
// store has them, so that an older program refuses it.
//
// In every later version magic, version, features and checksum of the header stay where they
// are.
//
// # Held records
//
// A writer may append records in memory ([Segment.Hold]). Reads, scans and walks find them there, as
// if they were in the file. [Segment.WriteHeld] writes them, in the order of their offsets. So a
// file never has a record without those before it, except where a crash took them. Index
// blocks, the end of a segment and appends to the file come after what is held.
//
// # Pins
//
// Reads copy records from a shared read-only mapping. The first read makes it, as long as
// the file may become, so that a growing file needs no new one. A reader must have a pin.
// After [Segment.Retire] the goroutine that releases the last pin unmaps the file. The
// caller orders pins and Retire by a lock of its own: with load-then-increment there would
// be a moment between the two, and an unmapping then would end in a fault.
//
// # Why
//
// A record has two checksums, and the first covers the second. So a walk that looks for
// keys hashes about 70 bytes per record, however large the values are. A lost value can be
// named. And a head is never valid with another record's body. The body sum covers the
// padding, so that every byte of a record is checked.
//
// Two sums of a small record take some 45 ns, and they stay: a sum of our own for short input, in
// one pass, was no faster than xxhash's (20 ns for 72 bytes either way) and took 1.4 times as long for
// a KiB. What did cost was passing a record of nearly 200 bytes from function to function. A read of
// 128 bytes from the processor's cache took 144 to 227 ns while each of four returned it by value, and
// takes 80 to 119 since they fill the caller's (BenchmarkRead, five interleaved pairs).
//
// Because of the seed no client can write a value that a search takes for a record. The
// seed does not prevent copies of real records, which somebody who can read the files could
// store, because records do not contain their place. Hence the rule that a record found by
// a search must be newer than those before it: a copy is always older than the record that
// contains it. One case remains: after a damaged head, a copy of a revision that was
// between its neighbours and has been removed by compaction. An erase is exempt from the
// rule: it has no revision, and an old one is still true, because floors only rise.
//
// Values are compressed one by one, so that each can be read alone. A dictionary shared by
// many values would save more, but they would depend on it. S2 was chosen because a put
// must not wait for compression: it takes 0.4 to 0.8 µs for 1 KiB and 12 µs for 64 KiB
// (BenchmarkCompress), while the log's sync takes 100 µs and more. Values of 128 bytes and
// more are compressed, and the result is kept if it saves an eighth.
//
// The checksum of the file's header does not use the seed, so that a file of another store
// can be told from a damaged one: the first must not be used, the second must.
//
// A value file has one value. Several values in one file would need an order before their
// revisions are known, and a copy of each that outlives its neighbours. A file that is removed
// with its record needs neither, so a large value is written once, however long it lives. A
// segment of its own for each large record was the other choice: its head and its index block
// can be written only once the revision is known, so it would be synced twice, and small records
// in between would be scattered over as many small segments.
//
// Index blocks have no search structure. Opening reads them once, front to back, into the
// engine's index. With deltas and varints the entry of a 16-byte key has 26 bytes, 27 if it is
// the first of its key, and decoding it takes some 50 ns. Common prefixes of keys are not
// removed: in the order of revisions, neighbours seldom share one.
//
// Index blocks have pages of their own, because disks lose pages, and a page that takes a record
// together with the entry that names it would leave no trace of the key. This costs half a page
// for each bucket that a checkpoint writes, and a bucket of a few records has two pages. Each
// page begins its deltas anew and has a header of its own, so that a lost page of a long block
// does not take the names in all pages after it.
//
// Each page has the totals of what is before it, and the manifest those of the whole. So the
// totals on both sides of a lost page say how many records it named, and their sum proves that
// a walk found exactly these. Revisions alone prove nothing: erases have none, and gaps between
// them are legal.
//
// The flag of a key's first record was there from the first release on, because it cannot be
// added to a store that has records already.
//
// Disk space is allocated before anything is written, and includes the index block of
// everything pending. So an entry is encoded when its record is appended, and a full disk
// is a clean refusal and never a failed checkpoint.
//
// The description for a manifest ([Desc]) changes only when an index block was written.
// Appends continue at the next page after it, so that bytes that a checkpoint made durable
// share no sector with a write in flight.
package segment
