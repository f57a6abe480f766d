//go:build !linux

package environment

import "time"

// Suspended returns 0: this system has no clock of its own for the time for which the
// machine was suspended.
func Suspended() time.Duration { return 0 }
