// Package verify reads a whole store that is not open, checks it, and repairs nothing.
//
// It checks both copies of the manifest; every segment that the manifest names: every
// record with its value, every index block, whether the two agree, and whether
// compressed values decompress; and every frame of the log that the next Open would
// replay, with each record and operation in it. It notes files among the segments
// that are not the store's.
//
// It opens a store's files through a file system that refuses every write, and does
// not use package bucket: a fault of the engine's own way to read cannot hide here.
package verify
