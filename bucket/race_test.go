//go:build race

package bucket

// putAllocs is how often a put may allocate: under the race detector pools drop
// what they are given, at random.
const putAllocs = 6

// underRace says that the race detector is on: tests do less then.
const underRace = true

// slowness divides the work of some tests under the race detector.
const slowness = 8
