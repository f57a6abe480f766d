//go:build race

package client

// raceEnabled: the race detector allocates, and makes pools forget.
const raceEnabled = true
