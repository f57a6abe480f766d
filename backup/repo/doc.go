// Package repo keeps many backups of one store in one place (package blob): a repository. A backup in
// it is a base: a cut of the whole store (package cut). Bases share what they have in common, so
// a base uploads what is new since the one before, and each is a backup of its own all the same.
//
// [Write] adds a base, [Open] reads a repository, [Repository.Points] lists what it can restore,
// [Repository.Restore] makes a store of a base, [Repository.Verify] reads one completely and
// [Repository.Prune] removes old ones.
//
// # Objects
//
//	repo.json                        what the repository is
//	gen/EPOCH/owner.json             the writer of a generation, and when it began
//	gen/EPOCH/closed.json            that writer has finished
//	gen/EPOCH/base/LSN.json          a base: its list of files
//	gen/EPOCH/base/LSN.verified.json the base was read back, and is whole
//	seg/SUM.zst                      a part of files of bases
//	probe/RANDOM                     for a moment, when the repository is made
//	restoring/RANDOM.json            a restore reads a base
//	pruning/RANDOM.json              objects are being removed
//
// EPOCH and LSN are 16 lower-case hex digits, RANDOM is 32, SUM is 64. Objects of other names are left
// alone. No object is ever changed.
//
// # Sealed objects
//
// The objects that end in .json are sealed: one line of JSON, a line feed, "sha256 ", the SHA-256 of the
// line without its line feed in 64 lower-case hex digits, and a line feed:
//
//	{"format":1,"store":"000102030405060708090a0b0c0d0e0f"}
//	sha256 e4b6…
//
// A sealed object has at most 64 MiB; all but bases have at most 64 KiB. Fields that a reader does not
// know are an error: a new field raises the format. The fields:
//
//	repo.json      format (1), store (id of the store, 32 hex digits)
//	owner.json     format, store, token (32 random hex digits), time
//	closed.json    format, token
//	LSN.json       format, store, lsn, time (of the store at that position), damage (places of the store
//	               that were damaged), buckets (each name, revision, keys), manifest (size, parts), files
//	               (each bucket, name, size, parts), in the order of package cut
//	verified.json  format, sum (of the list's JSON line)
//	restoring      format, epoch, lsn
//	pruning        format
//
// Times are of RFC 3339, in UTC.
//
// # Parts
//
// Manifest and files are cut into parts of 4 MiB, the last one shorter. A part is an object of its own, named
// after the SHA-256 of its bytes before compression, in the format of Zstandard (RFC 8878): a frame with
// the bytes, and a skippable frame with the SHA-256 of the first:
//
//	offset  size  field
//	0       n     frame
//	n       4     50 2a 4d 18: a skippable frame
//	n+4     4     20 00 00 00: of 32 bytes
//	n+8     32    SHA-256 of the first n bytes
//
// A list names parts as "SUM:STORED", where STORED is the size of the object in bytes, at most 4 MiB + 64 KiB.
// Its size unpacked follows from its place in the file. So equal parts exist once, and a reader
// knows that a part is right without trusting the place. "zstd -d" unpacks a part.
//
// # Writers
//
// A writer claims a generation: it puts owner.json under the epoch after the highest, which only one can do.
// The others get [ErrRepoTaken], and so does a writer
//
//   - of another store than that of repo.json,
//   - whose store is at a lower LSN than the newest base: it is an older copy of the store's
//     directory, or one that was restored,
//   - that finds a higher epoch than its own before it completes its base.
//
// A base is complete once its list exists, and counts once verified.json exists: before that every new
// part was read back, and every other one was seen in its place with the right size.
//
// A place has to refuse a second object of a name. Some S3 services ignore that wish: when a repository
// is made, two different objects are put under one name, and if both succeed the place is refused with
// [ErrUnsafePlace].
//
// # Removing
//
// [Repository.Prune] removes bases, and parts that no base names. It first puts a marker under pruning/,
// and then looks for others: it does nothing while another writer's generation is not closed, and
// keeps what restores use. A writer and a restore first put their own marker, and then look for pruning/. So of
// two that begin at once at least one sees the other. Markers end after an hour, and the generations
// of writers that ended without closing them after a day. Ages are computed from the times that the place
// itself gave to its objects. A restore that may not write to the place puts no marker: if its base is removed
// meanwhile it fails.
//
// # Why
//
// Parts of fixed size, and not whole files: the active segment of a bucket grows, and of one that grew by a
// record only the last part is new. Whole files would have to fit into memory, or be read twice.
//
// A sum in the object beside that in its name, because some bits of a frame can change without a change of
// what it unpacks to: without the sum such damage is not found before the next one makes it matter.
//
// A store is read completely for each base, although files do not change: that verifies them too. What the
// place has already is not uploaded.
//
// A new store id needs a new repository. Otherwise a restored store would continue the history of
// the store that it was restored from, with other records under the same numbers.
package repo
