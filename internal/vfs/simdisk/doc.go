// Package simdisk is a disk for tests. A [Disk] keeps files in memory, records
// which writes were synced, and makes every image that a power cut may leave. A
// [Fault] wraps a file system and makes chosen calls fail.
//
// Disk keeps the rules of package vfs ("What a disk promises") and breaks
// everything that they do not promise. A test writes to a Disk, calls [Disk.Crash]
// with a [Choice] as often as it likes, and opens each image as a disk of its own.
// [Fault] stops the file system at the n-th call, so a test can cut the power at
// every call.
//
// Production code never imports this package; a lint rule checks that.
//
// # Why
//
// A Disk keeps every version of a sector since the last sync and not only the
// newest, because a system writes pages back when it likes. It stores files as
// pages that images share until one of them writes, so an image of a small store
// costs 4 to 20 µs and 1 to 70 KB (BenchmarkCrash): a test can afford to cut the
// power at every item of every call.
//
// # What is not modelled
//
// A disk that acknowledges a flush it has not made; damage to bytes of other files
// (a torn sector that reads as an error, for instance: Fault fails reads); and the
// order that a journal keeps between changes of names.
package simdisk
