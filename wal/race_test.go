//go:build race

package wal

// underRace thins out the mass sweeps, whose code runs on one goroutine.
const underRace = true
