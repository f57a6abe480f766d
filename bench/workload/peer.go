//go:build linux

package workload

import "runtime/debug"

// Kind tells which peers are compared with each other.
type Kind string

// The kinds.
const (
	Embedded Kind = "embedded" // in the process of its callers
	Server   Kind = "server"   // in a process of its own, reached through its Go client
)

// Peer is a store to measure.
type Peer struct {
	Name    string
	Kind    Kind
	Version func() (string, error) // an error if the peer is not installed
	// Open opens the store in a directory, which it makes if it is missing.
	Open func(dir string) (Engine, error)
	// PutOnly is set for a limit that only puts: it cannot be read.
	PutOnly bool
}

// Engine is an open store. Its methods may be called concurrently.
type Engine interface {
	// Put returns when the value is on the disk.
	Put(key string, value []byte) error
	// PutAll returns when all values are on the disk, with as many syncs as the store needs.
	PutAll(keys []string, values [][]byte) error
	// Get returns a slice that is the caller's; nil if the key does not exist.
	Get(key string) ([]byte, error)
	// Keys calls fn for every key. The key is fn's until it returns.
	Keys(fn func(key []byte)) error
	Close() error
}

// Compacter is an Engine that gives the space of overwritten values back on request.
type Compacter interface {
	Engine
	Compact() error
}

// Process is an Engine whose store is in another process.
type Process interface {
	Engine
	PID() int
}

// ModuleVersion returns the version of a Go module in this program.
func ModuleVersion(path string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, m := range info.Deps {
		if m.Path == path {
			return m.Version
		}
	}
	return ""
}
