//go:build !linux

package fuzz

// kernelMutants are none where no test asks the kernel.
var kernelMutants []mutant
