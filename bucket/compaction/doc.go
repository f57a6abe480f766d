// Package compaction decides which segments of a bucket are worth rewriting, and which of
// their records may be left out. It is pure: it uses no file, lock or clock, so its rules
// are tested by tables. The steps of a compaction are in package bucket
// (bucket/compact.go).
//
// # Which segments
//
// A [Policy] chooses runs of neighbouring segments ([Run]); each run is replaced by
// one segment or by none. The policy takes the run that gives back the most bytes for the
// bytes that have to be copied, and merges small neighbours. [Usage.Policy] picks the
// policy by the bucket's [Usage] of the disk, by whether there are writers, and by whether
// the disk is full.
//
// # Which records
//
// A record that is not live (package manifest) may be left out of the output if either
//
//   - a newer record of its key stays; an erase counts as one only for another erase;
//     or
//   - no older record of its key is left, in the inputs or in the segments below them;
//     erases do not count.
//
// This has three consequences. The newest record that is present always has the highest
// floor. Records below that floor stay removed if an open finds them again. A marker is
// the last record of its key to be left out.
//
// The index nearly always shows a newer record, and that decides. Otherwise the records in
// the segments decide, live or dead. A [Decider] is shown the records of the inputs and of
// the segments below, and then decides about each record of the inputs. It
// remembers a bounded number of keys and keeps the dead records of all others if the index
// shows no newer one: keeping a record is never wrong.
package compaction
