// Package hole decides what a hole in the log took, and what the segments still have of
// it. It reads no file: recovery (package bucket) gives it what it found.
//
// A hole is a run of frames that were durable and cannot be read. The log is replayed
// past it. What it held is known in number: each frame has the totals of all frames
// before it, so the totals on both sides of a hole say how many records and operations
// it held, and the sum of the records' head checksums (package journal). Two filters of
// bucket ids say which buckets had records in it.
//
// After a kill the bytes stand in the tails: what stands in a bucket's segment files
// behind the end that the manifest names, in the order of the log. An item of a tail that
// no sound frame has is a candidate: perhaps it was in the hole.
//
// # What is whole
//
// A bucket is whole across all holes if one of these is so:
//
//	position  its segments hold every frame up to a position behind the last hole
//	filter    no filter of a hole has it; a hole of more than 64 frames has every bucket
//	run       its tail has, without a break, everything from its last record in a sound
//	          frame before the first hole, or from its beginning, to its first record in
//	          a sound frame behind the last hole
//	totals    the candidates of all buckets that are not whole otherwise come, in number
//	          and sum, to what is missing
//
// Then its candidates are exactly what it lacks. Revisions prove nothing here: erases have
// none of their own, and nothing shows that one is missing at the end. A number without a sum would be fooled by a candidate of an earlier life.
//
// Every other bucket is in doubt. Its bound is the revision before its first record in a
// sound frame behind the last hole; without such a record it is the highest revision that
// anything names, plus the number of records that are missing: the frames of one log that
// no checkpoint covers give out a bucket's revisions one after the other.
//
// # Operations
//
// An operation is logged twice, in two frames. A hole that took both copies took the
// operation, and with it perhaps the creation, the edit or the end of a bucket. Then
// every bucket in the hole's filters is in doubt as a whole.
package hole
