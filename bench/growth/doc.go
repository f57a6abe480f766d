//go:build linux

// Command growth measures how the cost of kvd's calls grows: with the number of keys, of
// buckets, of kept revisions, with the size of values, the length of keys and the number of
// watchers. It writes a table and a chart for each of these dimensions:
//
//	go run ./bench/growth -rounds 3            # all
//	go run ./bench/growth -only keys,history   # two of them
//	go run ./bench/growth render               # bench/growth/results/*.md, *.svg
//
// Every size has a store of its own, in the process. Puts are durable. The samples of a
// dimension are kept in results/NAME.json, and a further run adds rounds to them.
package main
