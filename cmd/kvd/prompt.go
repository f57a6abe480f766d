package main

import (
	"bufio"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// force is the flag -f of verbs that destroy something.
type force bool

func (f *force) addFlag(c *cobra.Command) {
	c.Flags().BoolVarP((*bool)(f), "force", "f", false, "act without asking")
}

// confirm asks whether to go on, unless the user said so beforehand. Without a
// terminal there is nobody to ask, which is an error.
func (a *app) confirm(c *cobra.Command, f force, question string) (bool, error) {
	if f {
		return true, nil
	}
	if !a.inTTY {
		return false, usageOf(c, errors.New("cannot ask for confirmation without a terminal: pass -f to act without"))
	}
	fmt.Fprintf(a.err, "%s (y/N) ", question)
	line, err := bufio.NewReader(a.in).ReadString('\n')
	if err != nil && line == "" {
		return false, fmt.Errorf("read the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return true, nil
	}
	fmt.Fprintln(a.err, "Nothing was done.")
	return false, nil
}
