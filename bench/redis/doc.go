//go:build linux

// Command redis compares kvd's server with Redis, in one run, on one machine:
//
//	go run . [-rounds 5] [-seconds 1] [-only name]
//
// It is a module of its own, so that users of kvd do not download a Redis client. It needs
// redis-server and redis-benchmark in PATH. It starts a Redis and a kvd on free loopback
// ports and in temporary directories, and stops both at the end. Redis runs with appendonly
// yes, appendfsync always and save "", so it too acknowledges only what is on the disk.
//
// # What is compared
//
// In rows marked raw, redis-benchmark loads Redis, and a generator of the same kind loads
// kvd: one thread, epoll, a buffer for each connection, commands formatted once. The
// generator can also speak Redis' protocol. Its own column shows that the two generators cost
// the same, so that the ratio is that of the servers. In rows marked callers, that many
// goroutines call a Go client: rueidis with its defaults, and package kvd/client.
//
// The rounds alternate: every variant runs once in each. The command prints the medians and
// their ratios; absolute figures depend on the machine at that moment. The measured server,
// the generator and the other, idle server use the same processors.
package main
