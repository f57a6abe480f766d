// Package peers runs the same work on kvd and on other embedded engines in one process and
// one run: bbolt (a B+ tree, copy on write), Pebble and Badger (LSM trees). Every write is
// durable before it returns: in bbolt by Batch, its group commit, or by Update for a single
// caller; in Pebble with pebble.Sync; in Badger with SyncWrites. All other options are each
// engine's defaults. kvd does additional work that the others do not: it assigns revisions,
// keeps a history and notifies watchers.
//
// The package has only benchmarks, and a test that the engines do the measured work.
//
//	go test -run '^$' -bench Put -benchtime 8000x .
//	go test -run '^$' -bench Get -benchtime 1000000x . -args -peers.keys=1000000
//	go test -run '^$' -bench Keys -benchtime 5x . -args -peers.keys=1000000
//	go test -run '^$' -bench Open -benchtime 5x . -args -peers.keys=1000000
//	go test -run '^$' -bench Disk -benchtime 1x . -args -peers.keys=1000000
package peers
