// Package cut is a copy of a store, or of some of its buckets, as of one position of the log:
// what it consists of ([Content]), who takes it ([Sink]), and how it becomes a store again
// ([Plan]). Package bucket makes cuts; package backup keeps them in a file.
//
// # What it holds
//
// A cut is what a checkpoint leaves on the disk: a manifest and the files that it names, as far
// as it names them. Nothing of the log belongs to it: the checkpoint takes the state of all its
// buckets between the same two groups of writes, so the segments hold every frame up to the
// cut's LSN and none behind it. A cut of some buckets has their entries of the manifest and
// their files, and no byte of another bucket.
//
// Buckets in memory have their configurations in it, and no records.
//
// Files are copied as they are, damage included: the manifest counts the records, so a store that
// is made of the cut finds the same damage and puts the same keys in doubt.
//
// # A store of it
//
// The files get new headers, with the id of the new store; no record is rewritten. The manifest is
// written anew: each bucket gets a new life, which is the id that clients see, and continues far
// above the revisions that the old store may have told after the cut ([Options.Bump]). The
// revisions in between are skipped ones (package manifest), so a watch that resumes at one of them
// gets kv.ErrCompacted, and no condition on one of them is met.
//
// The directory holds the file "restoring" from before the first byte until after the last one is
// durable. While it is there, no store opens the directory. So a crash leaves a directory that is
// refused, or a whole store.
package cut
