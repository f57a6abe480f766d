// Package index is the in-memory index of one bucket: from a key to the places
// of its records.
package index
