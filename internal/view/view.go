// Package view shows the bytes of a string as a slice, and those of a slice as a
// string, without a copy.
//
// A view shares the memory of what it was made of. Nobody may write to that memory for
// as long as the view is used: neither through the slice that [Bytes] returns nor to
// the slice that [String] was given. The views of different callers are independent of
// each other; any number of goroutines may read one.
package view

import "unsafe"

// Bytes returns the bytes of s. Its capacity is len(s).
func Bytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// String returns b as a string.
func String(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
