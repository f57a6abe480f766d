//go:build race

package client

// raceEnabled is true under the race detector, which allocates and removes items from
// pools.
const raceEnabled = true
