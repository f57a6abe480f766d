// Package bench measures the engine. Run it with
//
//	go test -run '^$' -bench . -count 6 ./bench | tee new.txt
//	benchstat new.txt
//
// Durable puts are compared with the limit of the disk in the same run: a loop that
// overwrites 4 KiB of an existing file and syncs. The metric x-raw is the ratio of the two
// rates. It means the same on any machine, while absolute figures of a shared disk change by
// tens of percent within an hour. If the raw loops before and after a run differ, use
// x-sync, which is steadier: the number of puts in the time of one sync of the run itself.
//
// The benchmarks use the system's temporary directory. Set TMPDIR to measure another disk.
// It must not be a tmpfs.
package bench
