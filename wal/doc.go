// Package wal is the write-ahead log of a store: frames of opaque bytes, numbered
// without gaps, in a few preallocated files that are overwritten in turn. A frame
// is durable when [Log.Sync] returns, and a [Reader] finds it again or says that
// it is damaged; it never takes damage for the end of the log.
//
// The package has no queue and no goroutine. One goroutine at a time appends;
// another may make and recycle files beside it.
//
// # Use
//
// [Open], [Reader.Replay] from the first frame that no checkpoint covers,
// [Reader.Start], and then for each group of writes [Log.Reserve], [NewFrame],
// [Log.Append] and [Log.Sync]. An idle log is vouched for ([Log.Vouch]); a
// checkpoint ends with [Log.Recycle]; [Log.Prepare] in the background keeps
// rotation short. A log that was damaged is replayed up to the damage and never
// started again.
//
// # The directory
//
// A file of the log is named by 16 lower-case hex digits, its slot, and ".wal".
// The slot stays with the file for good; what the file holds is said by the
// number in its header, which is new with each of its lives. A name that ends in
// ".wal.tmp" is a file being made: it is not part of the log, and Start removes
// it. Other names are left alone and reported.
//
// The file with the highest number is the newest. It names the file before it
// and that one's final LSN, that file names the one before it, and so on: this
// is the chain. Files of number 0, and those that the chain does not reach, hold
// nothing: they are spares as far as some are wanted, and removed otherwise.
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
//	     8    4 version: 1
//	    12    4 zero
//	    16    8 slot: the number in the file's name
//	    24    8 number of this life of the file; 0 in a spare that had none yet
//	    32    8 size of the file: a multiple of 4,096, 16 KiB to 1 GiB
//	    40    8 salt: random, new with each life
//	    48   16 store id
//	    64    8 number of the file before; 0: there is none
//	    72    8 final LSN of the file before: the frames here follow it
//	    80 4008 zero
//	  4088    8 checksum of the copy's offset in the file (8 bytes) and the
//	            4,088 bytes before
//
// In every later version magic, version and checksum stand where they do now.
//
// A frame begins 8-byte aligned, with a header:
//
//	offset size field
//	     0    8 checksum of salt, number, offset of the frame, and bytes 8 to 47
//	     8    8 checksum of salt, number, offset of the payload, and the payload
//	    16    4 length of the payload, at most 80 MiB; 0 in a vouching frame
//	    20    4 zero
//	    24    8 LSN: that of the frame before, plus 1
//	    32    8 synced: the newest LSN that was durable when this was written
//	    40    8 time, signed: what the writer gave, nanoseconds
//	    48      payload
//
// Checksums are XXH64 with seed 0 over the listed things in that order, each
// number as 8 bytes. So a frame validates only where it was written, in the
// life that it was written in: stale frames of a recycled file, moved or swapped
// pages, and values made up to look like frames do not, whatever they say.
//
// # Where frames stand
//
// The first frame stands at 4,096. After a frame that ends at offset e, the next
// stands at e rounded up to 8 if no sync came between, else at e rounded up to
// 4,096; it must end before the last header. A frame is written together with
// zeros up to the next 4 KiB boundary. So durable frames never share a page
// with a write in flight, and no page needs to be read to be written.
//
// A vouching frame is one without payload. It says in its field synced that the
// frame before it was durable; without it damage to that one would look like a
// torn tail. A log that goes idle or is closed writes one, unless its newest
// frame is one already, or the log has just moved to a file, whose header says the
// same. There is always room for it in the file.
//
// # Reading
//
// A reader takes each file of the chain, from the one that holds the first LSN
// wanted, and walks its frames up to the final LSN that the next file names, in
// the newest up to where no frame follows. It looks for LSN n+1 behind frame n,
// then at the next 4 KiB boundary. Where neither holds a frame of that LSN whose
// two checksums are right, it tries every later 4 KiB boundary of the file:
//
//   - Damage, if anything says that the frame was durable: the field synced of a
//     later valid frame header (the payload behind it may be torn), the final
//     LSN in the next file's header, or the caller, who wants only frames above
//     it. Damage too if a page from there on cannot be read, or the file is
//     shorter than its header says: nobody can know what stood there.
//   - A torn tail otherwise, or simply the end. The log ends at frame n.
//   - Of no account, if a later frame on a 4 KiB boundary is readable and the
//     caller wants only that one and later ones: a note.
//
// What it does with unusual files:
//
//	one header unreadable          the other counts; a note
//	more or fewer bytes than the   a note; where a frame is missed in a file that
//	header says                    is too short, damage
//	headers of different numbers   the higher counts: recycling was interrupted
//	no header readable             damage: a file has one from its first moment on
//	header of another slot         unreadable: the file was copied or renamed
//	two files of one number        damage
//	header of another store        an error of Open
//	header of a newer version      an error of Open
//	a number missing in the chain  the log starts above it: damage if the caller
//	                               wants frames from before, else of no account
//	stale or zero bytes            nothing: they have no valid checksum
//	a valid frame behind the       nothing: a file ends at the LSN that the next
//	final LSN                      one names
//
// # A file's life
//
// A file is made under its scratch name, filled with zeros, given both headers
// and synced, and then renamed; the directory is synced. Its next life begins
// when the log rotates to it: the first header is overwritten and synced, then
// the last one; the other way round if the last one cannot be read, for a power
// cut may have torn it. Before that the file in use is synced, and it gets no
// frame afterwards. So every file has a readable header at every moment, and a
// final LSN is on disk only when all frames up to it are. A file whose frames are
// no longer needed waits for its next life as it is, or is removed: in steps,
// down to its first header if that can be read.
//
// Recovery writes to no file that holds a frame which its caller wants: it goes on
// in a fresh one, whose header says where the log ended. That may be a spare, or a
// file of the chain whose frames all lie below those wanted.
//
// # Example
//
// A file of 16 KiB, the first of its log, with the salt 0x1122334455667788, a
// frame "hello" and a vouching frame. Lines of zeros are left out:
//
//	000000  6b 76 64 2e 77 61 6c 0a 01 00 00 00 00 00 00 00  magic, version
//	000010  01 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00  slot, number
//	000020  00 40 00 00 00 00 00 00 88 77 66 55 44 33 22 11  size, salt
//	000030  00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f  store id
//	000ff0  00 00 00 00 00 00 00 00 5d 88 d5 8b 78 4c 4b 5c  checksum
//	001000  9d 0a b2 ef 0e cd bb 23 fb 84 5c 6e fc 88 d6 e4  the two checksums
//	001010  05 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00  length, LSN
//	001020  00 00 00 00 00 00 00 00 00 00 2a 36 fe 9c 97 17  synced, time
//	001030  68 65 6c 6c 6f 00 00 00 00 00 00 00 00 00 00 00  "hello"
//	002000  55 20 59 54 c2 6b 67 a3 ff 84 df cc c0 dd 8d 9d  the two checksums
//	002010  00 00 00 00 00 00 00 00 02 00 00 00 00 00 00 00  length 0, LSN 2
//	002020  01 00 00 00 00 00 00 00 00 ca c4 71 fe 9c 97 17  synced: 1
//	003000  6b 76 64 2e 77 61 6c 0a 01 00 00 00 00 00 00 00  the header again
//	003010  01 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00
//	003020  00 40 00 00 00 00 00 00 88 77 66 55 44 33 22 11
//	003030  00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f
//	003ff0  00 00 00 00 00 00 00 00 c5 df 97 76 35 33 48 e7  its own checksum
//	004000
//
// # Versions
//
//	1  the format described here
//
// # Why
//
// Overwriting blocks that were written before syncs 1.7 to 2 times faster than
// appending to a file, because no metadata changes: hence preallocated,
// zero-filled, recycled files. It is also why a file keeps its name through its
// lives: rotation to a spare is two writes and two syncs of one file, and the
// directory is not touched.
//
// The two syncs of the headers could be one. Then a power cut could leave
// neither readable, and a file without a header would have to be taken for an
// interrupted rotation, when it may as well be the newest file, damaged, with
// frames that somebody was promised. One sync in sixteen megabytes buys the
// rule that it is always damage.
//
// The salt is 64 bits and random, not a counter: a file that comes back from a
// backup or another machine must not validate by chance. It is fed into each
// checksum rather than combined with it, so that no change of the bytes can
// make up for a change of the place.
//
// "The first bad checksum is the end of the log" is simpler and loses
// acknowledged frames to a single flipped bit. What tells the two apart is not
// a guess from the shape of the bytes but a statement in a later frame that the
// earlier was durable. Only frames on 4 KiB boundaries are searched for,
// because the first frame after a sync stands on one.
//
// What was left out: a checksum against somebody who can write to the files (a
// keyed one would be needed), compression (a frame's bytes go to the segments
// as they are), and more than one sync in flight (the groups get smaller, and
// both wait).
package wal
