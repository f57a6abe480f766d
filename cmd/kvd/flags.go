package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/spf13/cobra"
)

// exclusive refuses a command line that has both flags.
func exclusive(c *cobra.Command, names ...string) {
	c.MarkFlagsMutuallyExclusive(names...) // for the completion: the check below comes first and is plainer
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

// parseAge reads a duration as package time writes it, or with days, weeks and years: 7d,
// 1d12h.
func parseAge(s string) (time.Duration, error) {
	if d, err := time.ParseDuration(s); err == nil {
		return d, nil
	}
	if d, err := model.ParseDuration(s); err == nil {
		return time.Duration(d), nil
	}
	return 0, fmt.Errorf("%q is not a duration such as 90s, 12h, 7d or 1d12h", s)
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

// revisionFlag is a revision. It implements pflag.Value.
type revisionFlag uint64

// Set reads a number.
func (f *revisionFlag) Set(s string) error {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return fmt.Errorf("%q: must be a number", s)
	}
	*f = revisionFlag(n)
	return nil
}

func (f *revisionFlag) String() string { return strconv.FormatUint(uint64(*f), 10) }

// Type names the argument in the help.
func (f *revisionFlag) Type() string { return "revision" }

// completeEnum completes a flag that takes one of a few words.
func completeEnum(c *cobra.Command, name string, words ...string) {
	_ = c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)) // it exists
}
