// Package bench measures the engine: run it with
//
//	go test -run '^$' -bench . -count 6 ./bench | tee new.txt
//	benchstat new.txt
//
// Durable puts are compared with what the disk can do at most in the same run: a
// loop that overwrites 4 KiB of a file written before and syncs. The metric
// x-raw is the ratio of the two rates; it means the same on any machine, while
// absolute figures of a shared disk drift by tens of percent within the hour.
// Where even the raw loop before and after a run disagree, x-sync is steadier: the
// puts made in the time of one sync, as those of the run itself took.
//
// The directory of the benchmarks is the system's temporary one: set TMPDIR to
// measure another disk, and do not let it be a tmpfs.
package bench
