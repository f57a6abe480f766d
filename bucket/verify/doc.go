// Package verify reads a whole store that is not open, checks it, and repairs nothing.
//
// It checks both copies of the manifest. It checks every segment that the manifest names:
// every record with its value, every index block, whether the two agree, and whether
// compressed values can be decompressed. It compares the digest of each bucket in the manifest
// with the records that the index blocks list and the rules keep, which takes as much memory as
// the largest bucket's index. It checks every frame of the log that the next
// Open would replay, with each record and operation in it. It adds a note for each file
// in the segments' directory that is not the store's. It does not read images of indexes,
// because nothing depends on them.
//
// It opens a store's files through a file system that refuses every write. It does not
// use package bucket, so a bug in the engine's code for reading cannot hide damage.
package verify
