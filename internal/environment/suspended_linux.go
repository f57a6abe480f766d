package environment

import (
	"time"

	"golang.org/x/sys/unix"
)

// Suspended returns the time for which the machine has been suspended since its boot. It
// is short of the true value by less than the time between two readings of a clock. It is
// 0 if the system does not tell.
func Suspended() time.Duration {
	var boot, awake unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot) != nil || unix.ClockGettime(unix.CLOCK_MONOTONIC, &awake) != nil {
		return 0
	}
	return max(0, time.Duration(boot.Nano()-awake.Nano()))
}
