//go:build linux

// Package workload is the work that bench/peers has every store do. A [Peer] is a store, and
// an [Engine] is an open one. A [Step] does one kind of work with a peer in a process of its
// own, and reports the values of its rows. Every write is durable before it returns, and every
// step reads values back and compares them.
//
// Keys have 16 bytes and spread over the key space. Values have 128 bytes that do not
// compress; each names its key and how often the key was written.
package workload
