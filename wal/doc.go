// Package wal is the write-ahead log of a store: frames of opaque bytes, numbered
// without gaps, in a few preallocated files that are overwritten in turn. A frame
// is durable when [Log.Sync] returns. A [Reader] finds it again or reports that it is
// damaged; it never takes damage for the end of the log.
//
// The log begins with a small file. Files become two or four times as large while they are
// filled within seconds, and are halved while filling one takes more than a minute. [Log.Shrink]
// moves to a small file at once. Each file's header has its size, so files of all sizes are read.
//
// The package has no queue and no goroutine. One goroutine at a time appends. Another
// one may make and recycle files at the same time.
//
// # Use
//
// [Open], [Reader.Replay] from the first frame that no checkpoint covers,
// [Reader.Start], and then for each group of writes [Log.Reserve], [NewFrame],
// [Log.Append] and [Log.Sync]. Call [Log.Vouch] when the log becomes idle. A checkpoint
// ends with [Log.Recycle]. [Log.Prepare] in the background keeps rotation short: it makes the
// next file once an eighth of the current one is written, or a half if that took long.
//
// # Words
//
// Each frame carries five words, the running totals of everything before it, and so do
// the headers of files and the mark. They are the log's owner's: this package stores them
// and does not interpret them ([Words]; package journal has their meaning in a store). The
// owner hands in the words of the next frame: with [Reader.Start], and then with each frame.
//
// # The directory
//
// The name of a log file is 16 lower-case hex digits, its file id, and ".wal". The id
// never changes. A file is used many times, and each use has a new number, which is in
// the header. A name that ends in ".wal.tmp" is a file that is being made: it is not
// part of the log, and Start removes it. The file "synced" is the mark. Other names are
// not touched, and reported.
//
// The file with the highest number is the newest. It names the file before it and that
// file's final LSN, that file names the one before it, and so on: this is the chain.
// Files of number 0, and files that the chain does not reach, have no frames of the log:
// a few of them are kept as spares, the others are removed.
//
// # The file
//
//	0        4096                                          size-4096    size
//	+--------+--------+--------+------+---------------------+--------+
//	| header | frame  | frame  | frame frame  | frame  | .. | header |
//	+--------+--------+--------+------+-------+--------+----+--------+
//	         |        | synced | packed, synced together    |
//	         4 KiB boundaries
//
// Numbers are unsigned and little-endian unless said otherwise. The header is
// one page of 4,096 bytes, in two copies:
//
//	offset size field
//	     0    8 magic: "kvd.wal\n"
//	     8    4 version: 2
//	    12    4 features: a set of bits; none is defined
//	    16    8 file id: the number in the file's name
//	    24    8 number of this use of the file; 0 in a spare that was never used
//	    32    8 size of the file: a multiple of 4,096, 16 KiB to 1 GiB
//	    40    8 salt: random, new with each use
//	    48   16 store id
//	    64    8 number of the file before; 0: there is none
//	    72    8 final LSN of the file before: the frames here follow it
//	    80   40 words of the first frame of this file
//	   120    8 field 72 of the file before: the frames there follow that LSN
//	   128 3960 zero
//	  4088    8 checksum of the copy's offset in the file (8 bytes) and the
//	            4,088 bytes before
//
// The words are five numbers of 8 bytes: records, sum, operations, before and recent.
//
// In every later version magic, version, features and checksum stand where they do now. A
// header with another version or an unknown feature is kv.ErrVersion, once its checksum is
// correct.
//
// A frame begins 8-byte aligned, with a header:
//
//	offset size field
//	     0    8 checksum of salt, number, offset of the frame, and bytes 8 to 87
//	     8    8 checksum of salt, number, offset of the payload, and the payload
//	    16    4 length of the payload, at most 80 MiB; 0 in a vouching frame
//	    20    4 zero
//	    24    8 LSN: that of the frame before, plus 1
//	    32    8 synced: the newest LSN that was durable when this was written
//	    40    8 time, signed: what the writer gave, nanoseconds
//	    48   40 words of this frame
//	    88      payload
//
// Checksums are XXH64 with seed 0 over the listed fields in that order, each number as
// 8 bytes. So a frame is valid only at the place and in the use of the file for which it
// was written. Stale frames of a recycled file, moved or swapped pages, and values that
// imitate frames are never valid, whatever their bytes are.
//
// # The places of frames
//
// The first frame is at 4,096. After a frame that ends at offset e, the next one is at
// e rounded up to 8 if there was no sync between them, otherwise at e rounded up to
// 4,096. The owner may ask for a page of its own ([Log.NextPage]). A frame must end before
// the last header. A frame is written together with zeros up to the next 4 KiB boundary. So
// durable frames never share a page with a write in flight, and no page needs to be read to
// be written.
//
// A vouching frame has no payload. Its field synced shows that the frame before it was
// durable; without it damage to that frame would look like a torn tail. A log that
// becomes idle or is closed writes one, unless its newest frame is a vouching frame
// already, or the log has just moved to a new file, whose header shows the same. There is
// always room for it in the file.
//
// # The mark
//
// The file "synced" says that all frames up to an LSN are durable:
//
//	offset size field
//	     0    8 magic: "kvd.syn\n"
//	     8    4 version: 2
//	    12    4 features, as in a file's header
//	    16   16 store id
//	    32    8 LSN
//	    40   40 words of the frame after that LSN
//	    80    8 XXH64 with seed 0 of the bytes before
//
// It is overwritten in place after each sync that made frames durable, with one write, and
// is never synced itself. So it may name less than is durable, or be torn, and never names
// more. A killed process leaves the newest mark in the page cache: then damage to the
// newest frame, which no later frame vouches for, is told from a torn tail. After a power
// cut the mark may be old, and such damage still looks like a torn tail. The price is one
// small write for each sync. If the mark cannot be opened or written, the log works
// without it.
//
// An LSN is given away again only if it was never durable. The log continues after the
// newest frame that anything shows to have been durable, and the mark of that moment is one
// of the things. An older mark names a lower LSN. So no mark that was ever written here
// names an LSN that was not durable when it was given away for the last time.
//
// A mark that is damaged, or of another store, is ignored, with a note. In a copy of the
// directory that was made while the log was written the mark may be newer than the files,
// and in a directory that was restored from an older copy over a newer one, too. It is
// right then: the copy lacks frames that were durable.
//
// # Reading
//
// A reader takes each file of the chain, beginning with the one that contains the first
// wanted LSN. It reads the frames of a file up to its final LSN, which the next file names;
// in the newest file it reads until no frame follows. It looks for LSN n+1 right after
// frame n, then at the next 4 KiB boundary.
//
// What cannot be read is judged by D, the newest LSN that anything shows to have been
// durable: the field synced of a later valid frame header (whose payload may be torn), the
// next file's header, the mark, or the caller, which needs no frame below a certain one, and
// may know more.
//
//   - Frames up to D are a [Hole], and replay goes on behind it: at the next frame header
//     of the file that is valid, right behind a frame of known length or at a 4 KiB
//     boundary, and otherwise in the next file. A hole may be of one frame whose payload
//     alone is damaged, of pages, and of whole files. That header has the words behind
//     the hole; if the hole reaches the end of the log, the mark may have them.
//   - The first frame above D that cannot be read is the end of the log, whatever is valid
//     behind it: it may be a torn tail, of which any part is on the disk.
//   - A hole without an end is reported where frames may have been, and nothing shows how
//     many: a page of the newest file behind its last frame that the disk does not give
//     back, a newest file that is shorter than its header says, a file without a readable
//     header that may be the newest one, and a log without files of which the caller needs
//     some. The log ends there too.
//   - If the caller needs only frames behind the bad ones, or closed the log in good order
//     and so needs none, all this is a note.
//
// What it does with unusual files:
//
//	one header unreadable          the other counts; a note
//	more or fewer bytes than the   a note; a frame that is missing in a file that is
//	header says                    too short is in a hole
//	headers of different numbers   the higher counts: recycling was interrupted
//	no header readable             like a missing file; see above if none is missing
//	header of another file id      unreadable: the file was copied or renamed
//	two files of one number        the second counts as one without a readable header
//	header of another store        an error of Open
//	header of another version, or  an error of Open
//	with an unknown feature
//	a number missing in the chain  its frames are in a hole. The chain goes on with the
//	                               next lower number, whose final LSN the header behind
//	                               the hole has. If more are missing in a row, that file
//	                               ends at the newest LSN that its frames name as durable
//	stale or zero bytes            ignored: they have no valid checksum
//	a valid frame after the        ignored: a file ends at the LSN that the next
//	final LSN                      one names
//
// # The use of a file
//
// A file is made under its scratch name, filled with zeros, given both headers and
// synced; then it is renamed and the directory is synced. Its next use begins when the
// log rotates to it: the first header is overwritten and synced, then the last one. If
// the last header cannot be read, because a power cut has torn it, it is written first.
// Before that the current file is synced, and it gets no frame afterwards. So every file
// has a readable header at every moment, and a final LSN is on disk only when all frames
// up to it are. A file whose frames are no longer needed is kept unchanged for its next
// use, or is removed in steps: it is first cut down to its first header, if that can be
// read.
//
// On a file system that copies what is overwritten a write may find the disk full. Then
// Options.MakeRoom may free some and the write is repeated. Without room a frame is refused:
// zeros over its header are durable before the refusal is returned, so it is never found. A
// rotation is refused if nothing of the spare's first header was written.
//
// Recovery never writes to a file with a frame that the caller wants. It continues in a
// fresh file, whose header names the end of the log: the last frame, or D if that is
// higher. So no LSN that was durable is given away again. The fresh file may be a spare, or
// a file of the chain whose frames are all below the wanted ones. A file in which a replay
// found a hole is evidence: the log neither uses nor removes it ([Reader.Damaged]).
//
// # Example
//
// A file of 16 KiB, the first of its log, with the salt 0x1122334455667788, a
// frame "hello" and a vouching frame. Lines of zeros are left out:
//
//	000000  6b 76 64 2e 77 61 6c 0a 02 00 00 00 00 00 00 00  magic, version, features
//	000010  01 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00  file id, number
//	000020  00 40 00 00 00 00 00 00 88 77 66 55 44 33 22 11  size, salt
//	000030  00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f  store id
//	000ff0  00 00 00 00 00 00 00 00 26 75 9f 0a d7 77 96 f0  checksum
//	001000  81 87 59 25 9b ee 92 19 5e 5b 43 cf c0 64 2c 8d  the two checksums
//	001010  05 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00  length, LSN
//	001020  00 00 00 00 00 00 00 00 00 00 2a 36 fe 9c 97 17  synced, time
//	001050  00 00 00 00 00 00 00 00 68 65 6c 6c 6f 00 00 00  "hello"
//	002000  b7 37 b2 20 89 57 d7 6a ab 2e 5d 33 02 f8 f8 76  the two checksums
//	002010  00 00 00 00 00 00 00 00 02 00 00 00 00 00 00 00  length 0, LSN 2
//	002020  01 00 00 00 00 00 00 00 00 ca c4 71 fe 9c 97 17  synced: 1
//	002030  01 00 00 00 00 00 00 00 34 12 00 00 00 00 00 00  words: records, sum
//	002040  00 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00  before
//	003000  6b 76 64 2e 77 61 6c 0a 02 00 00 00 00 00 00 00  the header again
//	003010  01 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00
//	003020  00 40 00 00 00 00 00 00 88 77 66 55 44 33 22 11
//	003030  00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f
//	003ff0  00 00 00 00 00 00 00 00 b4 14 18 c5 77 11 eb 3f  its own checksum
//	004000
//
// The mark after that:
//
//	000000  6b 76 64 2e 73 79 6e 0a 02 00 00 00 00 00 00 00  magic, version, features
//	000010  00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f  store id
//	000020  02 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00  LSN 2, records
//	000030  34 12 00 00 00 00 00 00 00 00 00 00 00 00 00 00  sum
//	000040  00 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00  recent
//	000050  3c 11 2f 1f 12 3a 00 04  checksum
//	000058
//
// # Versions
//
//	1  was never released and is not read: frames without words, no mark
//	2  the format described here
//
// # Why
//
// Overwriting blocks that were written before syncs 1.7 to 2 times faster than appending
// to a file, because no metadata changes. Hence the files are preallocated, filled with
// zeros and recycled. For the same reason a file keeps its name: rotation to a spare is
// two writes and two syncs of one file, and does not touch the directory.
//
// The two syncs of the headers could be one. Then a power cut could leave neither header
// readable, and a file without a header would have to count as an interrupted rotation.
// But it may as well be the newest file, damaged, with acknowledged frames. One sync in
// sixteen megabytes buys the rule that a file without a header is always damage.
//
// The salt is 64 random bits, not a counter: a file from a backup or from another machine
// must not be valid by chance. It is an input of each checksum and is not combined with
// the result, so that no change of the bytes can compensate for a change of the place.
//
// "The first bad checksum is the end of the log" is simpler, but it loses acknowledged
// frames after a single flipped bit. Here the two cases are not told apart by guessing
// from the bytes: a later frame, header or mark states that the frame was durable. Only frames on
// 4 KiB boundaries are searched for, because the first frame after a sync is on one.
//
// The size of the next file is decided long before the current one is full, so that the next
// one can be made in time. It depends on the times of the frames alone, which the caller gives,
// so the log needs no clock. Under load the file of sixteen megabytes is the fourth. When each
// file had twice the size of the one before, and was made once that was half full, writers
// outran [Log.Prepare]: they made the files themselves, beside it, and the p99.9 of 64 writers
// tripled in the first second of a store. Writers that outrun it now make small files.
//
// The zeros of a new file go to the disk 256 KiB at a time, with one sync at the end. With a sync
// after each MiB, the p99 of one writer in the first second of a store was three times as high.
//
// Frames go through the page cache. Direct writes (O_DIRECT) of whole pages, with the same sync,
// were tried. Bare writes of 12 and 40 KiB with a sync each, in turns of 0.4 s on a virtual disk
// with ext4, took 0.85 to 1.05 times as long at p50, and 0.28 to 1.35 times at p99, best beside a
// program that appends to another file. In a store on a disk with other load, both ways in turns
// of 50 ms, 64 writers had 0.98 to 1.14 times the rate and 256 writers 1.00 to 1.04 times, and no
// percentile differed clearly. A frame of a group that is not synced would wait for the disk, and
// the next one would read its page again.
//
// What was left out: protection against an attacker who can write to the files (it would
// need a keyed checksum), compression (the bytes of a frame go to the segments as they
// are), and more than one sync in flight (the groups become smaller, and both syncs
// wait).
package wal
