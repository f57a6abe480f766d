//go:build !race

package bucket

// putAllocs is how often a put may allocate.
const putAllocs = 1
