// Package repo keeps many backups of one store in one place (package blob): a repository. A backup in
// it is a base: a cut of the whole store (package cut). Bases share what they have in common, so
// a base uploads what is new since the one before, and each is a backup of its own all the same. The
// repository may have the log of the store too: then it has every state behind a base.
//
// [Write] adds a base, [Shipper] copies the log, [Open] reads a repository, [Repository.Points] and
// [Repository.Logs] list what it has, [Repository.Plan] finds the state at a position or a time,
// [Repository.RestorePlan] makes a store of it, [Repository.VerifyPlan] reads it completely and
// [Repository.Prune] removes what is old.
//
// # Objects
//
//	repo.json                        what the repository is
//	gen/EPOCH/owner.json             the writer of a generation, and when it began
//	gen/EPOCH/closed.json            that writer has finished
//	gen/EPOCH/base/LSN.json          a base: its list of files
//	gen/EPOCH/base/LSN.verified.json the base was read back, and is whole
//	gen/EPOCH/log/LSN-LSN.kvl.zst    frames of the log: the first and the last
//	gen/EPOCH/gap.json               the log of that generation was given up
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
//	owner.json     format, store, token (32 random hex digits), time, ships (of a writer that copies the log: true)
//	closed.json    format, token
//	LSN.json       format, store, lsn, time (of the store at that position), damage (places of the store
//	               that were damaged), buckets (each name, revision, keys), manifest (size, parts), files
//	               (each bucket, name, size, parts), in the order of package cut
//	verified.json  format, sum (of the list's JSON line)
//	gap.json       format, token, lsn and time (of the last frame that is in the repository)
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
// # Log objects
//
// A log object has frames of the store's log (package wal) with LSNs that follow each other. It is packed as
// a part is: a frame of Zstandard, and a skippable frame with the SHA-256 of the first. Unpacked it has
// at most 120 MiB. Numbers are unsigned and little-endian unless said otherwise:
//
//	offset  size  field
//	0       8     magic: "kvd.kvl\n"
//	8       4     version: 1
//	12      4     features: a set of bits; none is defined
//	16      16    store id
//	32      8     LSN of the first frame
//	40      8     LSN of the last frame
//	48      40    words of the first frame: five numbers
//	88      …     frames
//	        32    SHA-256 of all bytes before
//
// A frame:
//
//	offset  size  field
//	0       8     time, signed: of the store when it was written, Unix time in ns; never less than before
//	8       40    words of the frame behind it
//	48      4     length of the payload (package journal), at most 80 MiB; 0 in a vouching frame
//	52      4     number of values
//	56      …     payload
//	        …     values, one behind the other
//
// A value is one that a record of the frame has in a file of its own (package segment):
//
//	offset  size  field
//	0       8     id of the bucket
//	8       8     number of the file
//	16      4     length, bytes
//	20      4     zero
//	24      …     the value, as it is stored
//
// An object of another version or with an unknown feature is kv.ErrVersion. Nothing is padded. A
// field that no writer makes, or a byte behind the last frame, is damage.
//
// A state behind a base is made of the base, and of the frames from the base's LSN on. They may be in objects
// of several generations; frames that were read already are skipped. If the next frame is in no object, there is a
// gap: the states from there to the next base cannot be made. The words of a frame are those that the frame before
// gave, except for the last one, and the words of the first are those of the base's manifest, if it has any.
// Otherwise they are of two copies of the store, which is damage. Of two generations that have one LSN the later one
// counts, from its first frame on: the writer of the other one put its frame before it found out that it was replaced.
//
// The state at a time is that of the last frame which is not younger. It is known if a younger frame follows, or a
// base of the same LSN.
//
// A cut has no bucket whose import is under way. So a state behind the end of such an import cannot be made
// of a base that is older than that end: a shipper makes a new base then.
//
// # Writers
//
// A writer claims a generation: it puts owner.json under the epoch after the highest, which only one can do.
// The others get [ErrRepoTaken], and so does a writer
//
//   - of another store than that of repo.json,
//   - whose store is at a lower LSN than the newest base: it is an older copy of the store's
//     directory, or one that was restored,
//   - that finds a higher epoch than its own, with another token, before it completes its base.
//
// A shipper has a generation for each run of log objects, and one for each base, all with one token. Before it puts a
// log object it looks for the owner of the next epoch; so owner.json is never removed. If that is another writer, or
// the name of its object is taken, the run ends. The shipper begins another one, which ends a writer of a base. But if
// the other writer ships too, and has not closed its generations, the shipper gets [ErrRepoTaken] for good: of two
// shippers the one that began later goes on. Each run begins with a base of its own.
//
// If the place is away until 64 MiB of frames wait, the shipper discards them, and begins another run when the place
// is back. gap.json in the generation of the run before says so. A frame of more than 112 MiB, with its values, is not
// shipped: it ends the run too.
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
// [Repository.Prune] removes bases, log objects before the oldest base that stays, and parts that no base names. It
// first puts a marker under pruning/, and then looks for others: it does nothing while another writer's generation is
// not closed, and keeps what restores use. A writer and a restore first put their own marker, and then look for pruning/. So of
// two that begin at once at least one sees the other. Markers end after an hour, and the generations
// of writers that ended without closing them after a day. Ages are computed from the times that the place
// itself gave to its objects. A restore that may not write to the place puts no marker: if its base is removed
// meanwhile it fails.
//
// # Why
//
// The frames that are to be shipped are kept in memory and not read from the log's files: a file that is held back
// fills the log, and then writers wait. A restart needs a base for that, which uploads little.
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
