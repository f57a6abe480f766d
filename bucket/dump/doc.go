// Package dump tells what the files of a store hold, part by part: each edit of the manifest, each
// frame, operation and record of the log, each record and index page of the segments, with its
// place and its checksums, stored and computed. It changes nothing.
//
// It decodes with the functions that the engine decodes with ([wal.Inspect],
// [segment.Inspect], [manifest.Inspect], package journal), so it shows what the engine would
// find.
//
// # Verdicts
//
// A store without its files' meaning is a heap of records. So [Store] reads a store twice: first
// what counts, by the rules of recovery, and then everything. Each record has a [Verdict]: whether
// it is live, and if not, which rule removed it and what decided that. [Options].Key tells the
// biography of a key in this way.
//
// A record counts if it is in the part of a segment that the manifest names, or in a frame of the
// log that an open would replay. What an open would mend from the tails of segments, where the log
// has a hole, is told as a record that does not count.
//
// # Memory
//
// The first reading keeps each record of the buckets and keys that are asked for, without its
// value: some 100 to 200 bytes. A filter by bucket or key keeps it small.
package dump
