// Package fuzz checks what kvd promises about crashes and damage: it runs the
// engine on a simulated disk, cuts the power at every call, breaks calls, flips
// bits, and compares what is served afterwards with a [Model] that was written
// from the specification alone.
//
// # What is checked
//
//   - Power cuts: before every file-system call of random workloads, several
//     images of what the disk may hold are opened. What was acknowledged is
//     there, identical in revision, value, time and operation; the one operation
//     in flight is there as a whole or not at all; nothing else is. Counts agree
//     with listings, no file and no handle is left over.
//   - The same in the life of a bucket: its records expire, by their own time and
//     by the bucket's, are touched, trimmed, erased, forgotten, swept, compacted and
//     compressed, under configurations that change, on the disk, in memory and with
//     sync=interval, and the bucket itself comes and goes. The machine may be off for
//     hours, and the wall clock is set all the time. What is in memory is empty
//     afterwards, under an id that no bucket had.
//   - The same among message logs: in silent buckets, whose records expire without a
//     marker, values are appended and the oldest trimmed, and a watch that resumes
//     behind what left is told.
//   - Power cuts during the recovery from a power cut: recovering again gives
//     the same records.
//   - Power cuts among buckets with sync=interval: one of the states since the last
//     sync is there, in all buckets together, and no revision is issued twice.
//   - Every prefix of the log, the rest cut off or zeroed.
//   - Every flipped bit, and zeroed, garbled and swapped sectors, of every file:
//     the right answer or an error that names the damage, never a wrong value.
//   - Every call that fails, once or from then on, with EIO, ENOSPC, a short
//     write, or a sync that drops its pages.
//   - A full disk: refused cleanly, reads and deletes go on, and it heals.
//   - Many writers with crashes at random calls, under the race detector.
//   - Two hundred watchers with random patterns and options beside writers, a million
//     events in all: they stall, disconnect and resume, the power goes off at random
//     calls, keys expire, are purged, trimmed and forgotten. What was acknowledged or
//     delivered is there after a power cut, and comes to every watcher that it is
//     owed to, in order, once; or the watcher is told that it may be missing.
//   - A real process on a real file system, killed while it writes.
//   - Everything at once on a real file system for minutes, where asked for: disk
//     and memory must not grow away from what lives, and the files verify.
//   - Seeded bugs: file systems, calls and watches that break one rule each, and
//     mutants, which are the engine with a line of its source changed. All of them
//     must be found by the checks above.
//
// # How to use it
//
// go test ./fuzz runs a part of all this that takes about a minute. The flag
// -kvd.effort=N multiplies the number of workloads and samples, and the
// environment variable KVD_FUZZ=nightly is an effort of 200. A failure prints
// the seed and the shortest list of operations that was found to fail too;
// -kvd.seed=N runs that seed alone, -kvd.shrink says how long it is made smaller; -run TestSoak -kvd.soak=10m runs everything at once
// for so long. What once failed stays, at its smallest, as a
// test or in the corpus. The native targets want -fuzzminimizetime=5x: which code
// an input reaches depends on the scheduler, and Go's fuzzer would spend a minute
// on making each one smaller.
//
// # Limits
//
// Where records expire, no bucket has a size limit: which records count depends on
// when the sweep comes by. What a bucket has forgotten and readers do not see, such as
// markers past their time, is compared by what it does later, not as it stands.
//
// Images share pages with the disk that they were taken from, so a sweep is bound
// by memory bandwidth, not by the disk: it says nothing about real file systems,
// for which there is the test that kills a process.
//
// Damage that takes both a record and the index block that names it leaves only
// the report of Open to tell of it, and an older record of the key may be served:
// the sweep over sectors counts these. A single flipped bit never does that.
//
// # Why
//
// One run of a workload serves for every call at which the power may go: before
// each call the disk in memory makes the images, which share their pages with
// it, while the workload goes on. Running the workload anew for each call, as
// crash testers of real file systems must, would take the square of that time.
//
// Mutants are made by the compiler's overlay, all in one program in which an
// environment variable says who lives. So the engine has no hooks for them, and each
// is a mistake that a programmer could make, not what a hook allows for. Those that
// nothing noticed at first had no workload that comes by them, or a check that looked
// away; a rule that no mutant can break unnoticed is tested.
//
// The model is a map of histories. It knows no files, no log and no index, so it
// cannot share a misunderstanding with the engine's code, only with its
// specification.
package fuzz
