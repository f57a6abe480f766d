//go:build linux

// Command redis measures kvd's server beside Redis, in one run, on one machine:
//
//	go run . [-rounds 5] [-seconds 1] [-only name]
//
// It is a module of its own, so that users of kvd do not download a client of
// Redis. It needs redis-server and redis-benchmark in PATH, starts a Redis and a
// kvd of its own on free loopback ports and in temporary directories, and ends
// both. Redis runs with appendonly yes, appendfsync always and save "": it too
// acknowledges what is on the disk.
//
// # What is compared
//
// Where the table says raw, Redis is loaded by redis-benchmark and kvd by a
// generator that is as lean: one thread, epoll, a buffer per connection, commands
// formatted once. The same generator also speaks Redis' protocol; its column
// shows that the two generators cost the same, so that a ratio is the servers'.
// Where it says callers, that many goroutines call a Go client: rueidis, with its
// defaults, and package kvd/client.
//
// The rounds are interleaved, every variant once in each. What is printed are the
// medians and their ratios; absolute figures are the machine's of that minute.
// The server, the generator and the other server, which idles, share the
// machine's processors.
package main
