//go:build !race

package bucket

// putAllocs is how often a put may allocate.
const putAllocs = 1

// underRace says that the race detector is on: tests do less then.
const underRace = false

// slowness divides the work of some tests under the race detector.
const slowness = 1
