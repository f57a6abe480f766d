// Package backup keeps a cut of a store (package cut) in one file, the archive: [Write] makes one,
// [Verify] reads all of it, and [Restore] makes a store of it. An archive is a tar file, so that
// anybody can list it. It holds values, and nothing in it is encrypted. So a file is made
// with mode 0600.
//
// # Format
//
// The entries stand in this order, and there are no others:
//
//	kvd-backup.json                      what the archive holds, below
//	manifest.PPPPPP.zst                  the manifest of these buckets alone (package manifest)
//	seg/BUCKET/NAME.PPPPPP.zst           the files: segments and value files (package segment)
//	damage.json                          only if the store was damaged: where
//	SUMS                                 the SHA-256 of each entry before: an archive without it is none
//
// BUCKET is the number of a bucket in kvd-backup.json, and NAME the name of a file in a store:
// 16 hex digits and ".seg" or ".val". Manifest and files are cut into parts of 4 MiB, the last one
// shorter. PPPPPP is the number of the part, from 0 on, in at least six digits. A part is one frame of
// Zstandard (RFC 8878). So
//
//	tar -xOf FILE --wildcards 'seg/3/0000000000000012.seg.*' | zstd -d
//
// is a file of the store. Files stand in the order of kvd-backup.json: by bucket, segments before value
// files, by number.
//
// SUMS has a line for each entry before it: 64 hex digits, two spaces, the name and a line feed. It is
// what sha256sum writes, so "sha256sum -c SUMS" checks the files of an archive that was unpacked.
//
// # kvd-backup.json
//
// An object:
//
//	format        1
//	store         id of the store, 32 hex digits
//	lsn           position of the store's log: the archive has every frame up to it
//	time          of the store at that position, RFC 3339 in UTC
//	manifest      size of the manifest in bytes, at most 256 MiB
//	buckets       for each bucket, ascending by number: number, name, id (as clients see it),
//	              created, revision (the newest one; 0: none), keys (with a record, deleted ones included),
//	              digest (of its records, 32 hex digits; absent: not known) and config (as in the manifest)
//	files         for each file: bucket, name, and size in bytes
//
// It has at most 64 MiB. Readers ignore fields that they do not know; a change that they must not ignore
// raises the format. damage.json is an object with places, their number, and damages, the first ones: file,
// offset (-1: the file as a whole), bucket and detail. It has at most 1 MiB.
//
// # The tar file
//
// Every byte is determined by the content. Each entry has a header of 512 bytes in the format of POSIX.1-1988
// (ustar):
//
//	offset  size  field
//	0       100   name, then zeros
//	100     8     "0000600", zero
//	108     16    "0000000", zero, twice: user and group
//	124     12    length of the entry, 11 octal digits, zero
//	136     12    the archive's time in seconds, 11 octal digits, zero; the same in all headers
//	148     8     sum of the header's bytes, as if this field were spaces: 6 octal digits, zero, space
//	156     1     "0": a file
//	157     100   zeros
//	257     8     "ustar", zero, "00"
//	265     64    zeros
//	329     16    "0000000", zero, twice
//	345     167   zeros
//
// After it comes the content, padded with zeros to a multiple of 512. After SUMS come 1,024 zeros, and nothing.
// A reader knows each name before it reads the header, computes the header again and compares. So no
// name of an archive is ever used as a path, and neither a link nor a second entry of one name can
// be in it. With SUMS, every bit of an archive is checked.
//
// # Reading
//
// An archive that is cut off, longer, or differs in one bit is damage: a *kv.CorruptError with the offset
// in the archive. A reader takes no length from it without comparing it with the limits above, and
// unpacks no part beyond its size. A format above 1 is kv.ErrVersion. Damage of the store is no damage
// of the archive: the archive has what the store had.
//
// # Writing
//
// [Create] writes under the name FILE.partial, syncs, renames and syncs the directory. So FILE is
// whole, or there is none. What a crash leaves is FILE.partial.
//
// # Versions
//
//	1  the format described here
//
// # Why
//
// Parts, because the header of an entry has its length, and the length of a compressed file is known
// only at its end: a part fits into memory. One frame for each part, so that a damaged byte makes one part
// unreadable and not what follows.
//
// SUMS and not a sum in each header: tar has no place for one. The sums of tar's own headers are too weak:
// in a small archive read by archive/tar, a third of all single flipped bits changed no entry and was not
// noticed.
package backup
