// Package view returns the bytes of a string as a slice, and a slice as a string,
// without a copy.
//
// A view shares the memory of its source. Nobody may write to that memory while the
// view is in use: neither to the slice that [Bytes] returns nor to the slice that was
// passed to [String]. Any number of goroutines may read a view.
package view

import "unsafe"

// Bytes returns the bytes of s, which must not be changed. Their capacity is len(s).
func Bytes(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }

// String returns b as a string. b must not be changed while the string is in use.
func String(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
