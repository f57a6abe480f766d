//go:build 386 || arm || mips || mipsle

package vfs

// The engine maps large files and counts bytes in int: on 32 bits it would fail with the first large
// store. So it is not compiled there. Package client works with 32 bits.
var _ = kvd_needs_a_system_with_64_bits
