//go:build linux

// Command lmdb does the steps of bench/peers with LMDB, which needs cgo. bench/peers builds
// and runs it; it is a module of its own, so that nothing else needs a C compiler.
package main

import (
	"fmt"
	"os"

	"kvd/bench/workload"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == "version" {
		version, _ := peer.Version()
		fmt.Println(version)
		return
	}
	if len(os.Args) < 2 || os.Args[1] != workload.StepVerb {
		fmt.Fprintln(os.Stderr, "lmdb: run bench/peers, which runs this program")
		os.Exit(2)
	}
	if err := workload.Main([]workload.Peer{peer}, os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "lmdb:", err)
		os.Exit(1)
	}
}
