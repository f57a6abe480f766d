// Package descriptors divides the descriptors of a process between a store and the connections
// that it serves.
package descriptors

const (
	// StoreMin is the least share of a store: its log, manifest and lock, the files that reads,
	// scans and a compaction have open, and a few active segments.
	StoreMin = 40
	// storeMax is the most that a store has a use for.
	storeMax = 16<<10 + StoreMin
	// Admin is how many connections of the admin port are served beside those that count.
	Admin = 4
	// others is what the program needs beside both: standard streams, the poller, listeners, a
	// connection that each of them is about to refuse, and the files of users and certificates
	// while they are read.
	others = 12 + Admin
)

// Store returns the share of a store of the limit: half of it, but at least StoreMin.
func Store(limit int) int { return min(max(limit/2, StoreMin), storeMax) }

// Connections returns how many connections all listeners together may have beside a store:
// at least one.
func Connections(limit int) int { return Beside(limit, Store(limit)) }

// Beside returns how many connections all listeners together may have beside a store with
// that share of the limit: at least one.
func Beside(limit, store int) int { return max(limit-store-others, 1) }
