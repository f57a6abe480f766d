//go:build race

package wal

// underRace makes the large sweeps smaller: their code runs in one goroutine.
const underRace = true
