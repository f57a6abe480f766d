// Package fuzz checks what kvd promises about crashes and damage. It runs the engine on
// a simulated disk, cuts the power at every call, makes calls fail and flips bits. Then
// it compares the records that the store serves with a [Model], which was written from
// the specification alone.
//
// # What is checked
//
//   - Power cuts: before every file-system call of random workloads, several images of
//     the disk are opened. Every acknowledged record is there, identical in revision,
//     value, time and operation. The one operation in flight is there completely or not
//     at all. Nothing else is there. Counts agree with listings, and no file and no
//     handle remains open.
//   - Power cuts during the life of a bucket: records expire by their own TTL and by the
//     bucket's, and are touched, trimmed, erased, purged, swept, compacted and
//     compressed. Configurations change. Buckets are on the disk, in memory and with
//     sync=interval, and are created and deleted. The machine may be off for hours, and
//     the wall clock is set all the time. A memory bucket is empty after a restart and
//     has an id that no bucket had before.
//   - Power cuts in message logs: these buckets write no expiry markers. Values are
//     appended and the oldest ones trimmed. A watch that resumes before a removed record
//     returns an error.
//   - Power cuts during the recovery from a power cut: another recovery gives the same
//     records.
//   - Power cuts with sync=interval buckets: all buckets together are in one of the states
//     since the last sync, and no revision is issued twice.
//   - Every prefix of the log, with the rest cut off or zeroed.
//   - Every flipped bit, and zeroed, garbled and swapped sectors, of every file: a read
//     returns the right answer or an error that names the damage, never a wrong value.
//   - The damage matrix: bits, sectors and pages of a store with 64 KiB in use, in memory
//     and on real files. Every image is opened three times, everything is asked, and every
//     key is compared and set. No answer is wrong, and none is refused needlessly.
//   - Every call that fails, once or from then on, with EIO, ENOSPC, a short write, or a
//     sync that drops its pages.
//   - Power cuts, failing calls and full disks while the files of the log grow with the load
//     and shrink at rest, and while the reserve follows the size of the store.
//   - A full disk, also one that copies what is overwritten: writes are refused cleanly,
//     reads and deletes continue, and writes succeed again once there is room.
//   - Many writers with crashes at random calls, under the race detector.
//   - Two hundred watchers with random patterns and options beside writers, a million
//     events in all. Watchers stall, disconnect and resume, the power is cut at random
//     calls, and keys expire and are purged and trimmed. Every acknowledged or delivered
//     record is there after a power cut. It comes to every watcher that it is due to, in
//     order and once; otherwise the watcher gets an error which says that it may be
//     missing.
//   - A real process on a real file system, killed while it writes. The module
//     kvd/server/nats/conformance kills a server that clients of both ports use, and
//     checks that their calls are linearizable.
//   - Everything at once on a real file system for minutes, if a flag asks for it: disk
//     and memory must stay in proportion to the live data, and the files verify.
//   - Seeded bugs: file systems, calls and watches that break one rule each. Mutants: the
//     engine with one line of its source changed. The checks above must find all of them.
//
// # How to use it
//
// go test ./fuzz runs a part of all this that takes about a minute. The flag
// -kvd.effort=N multiplies the number of workloads and samples. The environment variable
// KVD_FUZZ=nightly is an effort of 200. A failure prints the seed and the shortest list
// of operations found that also fails. -kvd.seed=N runs that seed alone. -kvd.shrink
// bounds the time for finding a shorter list. -run TestSoak -kvd.soak=10m runs everything
// at once for ten minutes. Every failure that was found is kept, in its smallest form, as
// a test or in the corpus. Run the native targets with -fuzzminimizetime=5x: the code that
// an input reaches depends on the scheduler, so Go's fuzzer would otherwise spend a minute
// on making each input smaller.
//
// # Limits
//
// Buckets in which records expire have no size limit: the records that count depend on
// the time of the sweep. Records that a bucket has removed or that readers do not see,
// such as expired markers, are not compared directly, only by their later effects.
//
// Images share pages with their disk, so the speed of a sweep is bounded by the memory
// bandwidth and not by the disk. A sweep shows nothing about real file systems; the test
// that kills a process does.
//
// If damage removes both a record and the index page that names it, its bucket is in doubt. The
// sweep over sectors counts these cases. A single flipped bit never causes one.
//
// # Why
//
// One run of a workload is enough for all calls at which the power may be cut: before
// each call the simulated disk makes the images, which share their pages with it, and the
// workload continues. Running the workload again for each call, as crash testers of real
// file systems must, would take quadratic time.
//
// Mutants are made by the compiler's overlay. All are in one program, and an environment
// variable selects the active one. So the engine has no hooks for them, and each mutant is
// a mistake that a programmer could make, not one that a hook allows. A mutant that no test
// found at first showed that no workload reached its code, or that a check was too weak.
//
// The model is a map of histories. It has no files, no log and no index, so it shares no
// misunderstanding with the engine's code, only with the specification.
package fuzz
