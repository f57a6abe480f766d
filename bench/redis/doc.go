//go:build linux

// Command redis compares kvd's server with Redis below the level of clients, in interleaved
// rounds of one run:
//
//	go run . -rounds 5
//	go run . render        # results/raw.md, results/raw.svg
//
// It is a module of its own. It needs redis-server and redis-benchmark in PATH. It starts a
// Redis and a kvd on free loopback ports and in temporary directories, and stops them at the
// end. Redis runs with appendonly yes, appendfsync always and save "", so it too acknowledges
// only what is on the disk. Through their Go clients bench/peers compares the two.
//
// # What is compared
//
// A generator of one thread loads both servers: epoll, a buffer for each connection, commands
// formatted once. It compares the values that gets return. A further column is Redis loaded
// by redis-benchmark, which shows what the generator costs.
//
// For gets there is also a floor: a server of Go that parses the commands and sends the same
// prepared answer to all. It shows how much of a get the sockets and Go's scheduler take.
//
// Gets read random keys of ten thousand, which fit into the processor's cache, and of half a
// million, which do not.
//
// The measured server, the generator and the other, idle server use the same processors.
// Further rows have kvd serve beside four thousand idle connections.
package main
