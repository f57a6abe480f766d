// Package image is the format of the files in index/: for a bucket with many keys, what its
// index is in memory, so that an open need not build it from the index blocks of the segments.
//
// A file belongs to a state of a bucket, the [Key]: the store, the bucket, and a hash of all
// that the manifest says of it, its segments and their lengths among it. A file of any other
// state is stale. So a file is used only if the segments hold exactly what they held when it
// was written, and it may be missing, stale or damaged at any time: the segments have
// everything.
//
// # Format
//
//	0   "kvdindex"
//	8   version: 2, 4 bytes, and 4 zeros; a file of another version is stale
//	16  id of the store, 16 bytes
//	32  bucket, 8 bytes
//	40  hash of the bucket in the manifest, 8 bytes
//	48  length of the content, 8 bytes
//	56  checksum of the header, 8 bytes
//	64  blocks: up to 256 KiB of the content, and a checksum of 8 bytes
//
// All blocks but the last are full. Numbers are little-endian. A checksum is xxHash64: that of
// a block begins with the checksum of the header without its length, and the number of the
// block. So a block of an older file, or of another place, is not taken for the right one.
//
// # Crashes
//
// A file is written aside as *.new, synced, and renamed. The directory need not be synced:
// after a crash the file that is there is the old one, which is stale, or the new one, which is
// whole.
package image
