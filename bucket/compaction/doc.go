// Package compaction has the decisions of compaction: which segments of a bucket are
// worth rewriting, and which of their records may be left out. It is pure: it touches
// no file, takes no lock and reads no clock, so its rules are tested by tables. Package
// bucket has the steps (bucket/compact.go).
//
// # Which segments
//
// A [Policy] chooses runs of neighbouring segments ([Run]); each run is replaced by
// one segment or by none. It takes the run that gives back the most bytes for the
// bytes that have to be copied, and merges small neighbours. A bucket's [Usage]
// of the disk, and whether there are writers, say which policy is right
// ([Usage.Policy]).
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
// So the newest record that is present always has the highest floor, the records below
// that floor stay removed when an open finds them again, and a tombstone is the last
// record of its key to be left out.
//
// Nearly always the index shows a newer record, and that decides. For the rest, the
// records in the segments count, live or not. A [Decider] is shown the records of the
// inputs and of the segments below, and then decides about each record of the inputs.
// A record whose key it could not note stays: it is never wrong to keep a record.
package compaction
