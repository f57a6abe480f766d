//go:build linux

// Command peers has kvd and other stores do the same work, in interleaved rounds of one run,
// and writes tables and a chart of the ratios:
//
//	./servers/install                     # redis-server, etcd and nats-server, once
//	go run . -kind embedded -rounds 5     # stores that a program embeds
//	go run . -kind server -rounds 5       # servers, through their Go clients
//	go run . render                       # results/*.md, results/*.svg
//
// It is a module of its own, so that users of kvd do not download other stores. LMDB needs a C
// compiler, and is in a module of its own again, in the directory lmdb: without a compiler it
// is left out, with a warning. So is a server that is not installed.
//
// # What is compared
//
// [kvd/bench/workload] is the work. Every write is durable before it returns; all other
// options are the defaults, checksums included. The harness reads values back and compares
// them. The limit "raw" is no store: a group commit of the same bytes into a file that is
// written again and again, so a put cannot be faster on this disk with one sync at a time.
//
// What a store does for a put and a get differs:
//
//	kvd      one sync for all waiting writers; two checksums on every get; revisions, order
//	bbolt    two syncs for the callers of a Batch; no checksum of data; order
//	pebble   one sync for all waiting writers; checksum of a block when it is read into the cache; order
//	badger   a sync for each caller; no checksum on gets by default; order
//	nutsdb   a sync for each caller; keys and values in memory; order
//	pogreb   a sync for each caller; no checksum on gets; no order
//	lmdb     two syncs for each caller; no checksum; order
//	redis    one sync for each turn of its event loop; everything in memory; no order
//	etcd     one sync for each batch of its log; order, revisions, watches
//	nats     a sync for each message; checksum on every get; revisions, watches
//
// # Rounds
//
// In a round every peer does each step in a process of its own: a step of all peers, then the
// next step. The order of the peers turns from round to round. The samples of a run are kept
// in results/KIND.json, and a further run adds rounds to them, so a long measurement can be
// made in pieces. A ratio is the median of those within the rounds.
package main
