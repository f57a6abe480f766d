package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// exclusive refuses a command line that has both flags.
func exclusive(c *cobra.Command, names ...string) {
	before := c.PreRunE
	c.PreRunE = func(c *cobra.Command, args []string) error {
		var set []string
		for _, name := range names {
			if c.Flags().Changed(name) {
				set = append(set, "--"+name)
			}
		}
		if len(set) > 1 {
			return usageOf(c, fmt.Errorf("use %s, not both", strings.Join(set, " or ")))
		}
		if before != nil {
			return before(c, args)
		}
		return nil
	}
}

// sizeFlag is a number of bytes as people write it: 1024, 4K, 1MB, 64 MiB. All
// units are powers of 1,024, as in the nats program. It implements pflag.Value.
type sizeFlag int64

// units are the suffixes, longest first where one ends with another.
var units = []struct {
	suffix string
	bytes  int64
}{
	{"KIB", 1 << 10}, {"MIB", 1 << 20}, {"GIB", 1 << 30}, {"TIB", 1 << 40},
	{"KB", 1 << 10}, {"MB", 1 << 20}, {"GB", 1 << 30}, {"TB", 1 << 40},
	{"K", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}, {"T", 1 << 40},
	{"B", 1},
}

// parseSize reads a number of bytes. It returns -1, which means no limit, as it is.
func parseSize(s string) (int64, error) {
	digits, unit := strings.ToUpper(strings.TrimSpace(s)), int64(1)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(digits, u.suffix); ok {
			digits, unit = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < -1 || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("%q is not a size such as 512, 64KB or 1GiB", s)
	}
	if n < 0 && unit != 1 {
		return 0, fmt.Errorf("%q is not a size", s)
	}
	return n * unit, nil
}

func (f *sizeFlag) Set(s string) error {
	n, err := parseSize(s)
	*f = sizeFlag(n)
	return err
}

func (f *sizeFlag) String() string { return strconv.FormatInt(int64(*f), 10) }

// Type names the argument in the help.
func (f *sizeFlag) Type() string { return "bytes" }

// ageFlag is a duration as package time writes it, or in days or weeks: 90s, 7d,
// 2w. It implements pflag.Value.
type ageFlag time.Duration

const day = 24 * time.Hour

func parseAge(s string) (time.Duration, error) {
	unit := time.Duration(0)
	switch {
	case strings.HasSuffix(s, "d"):
		unit = day
	case strings.HasSuffix(s, "w"):
		unit = 7 * day
	}
	if unit != 0 {
		n, err := strconv.ParseInt(s[:len(s)-1], 10, 64)
		if err == nil && n >= 0 && n <= int64(math.MaxInt64/unit) {
			return time.Duration(n) * unit, nil
		}
	} else if d, err := time.ParseDuration(s); err == nil {
		return d, nil
	}
	return 0, fmt.Errorf("%q is not a duration such as 90s, 12h or 7d", s)
}

func (f *ageFlag) Set(s string) error {
	d, err := parseAge(s)
	*f = ageFlag(d)
	return err
}

// String returns "0" for no duration: the help shows no default then.
func (f *ageFlag) String() string {
	if *f == 0 {
		return "0"
	}
	return time.Duration(*f).String()
}

// Type names the argument in the help.
func (f *ageFlag) Type() string { return "duration" }
