//go:build linux

package main

import (
	"os/exec"
	"regexp"

	"kvd/bench/workload"
)

// peers are the peers of this program. LMDB is in a program of its own.
func peers() []workload.Peer {
	return []workload.Peer{
		kvdPeer, rawPeer, pebblePeer, bboltPeer, badgerPeer, nutsdbPeer, pogrebPeer,
		kvdLinePeer, kvdNATSPeer, redisPeer, etcdPeer, natsPeer,
	}
}

// module returns a function that returns the version of a Go module in this program.
func module(path string) func() (string, error) {
	return func() (string, error) { return workload.ModuleVersion(path), nil }
}

var version = regexp.MustCompile(`[0-9]+\.[0-9]+\.[0-9]+`)

// installed returns a function that has an installed server print its version.
func installed(program string) func() (string, error) {
	return func() (string, error) {
		out, err := exec.Command(program, "--version").Output()
		return string(version.Find(out)), err
	}
}
