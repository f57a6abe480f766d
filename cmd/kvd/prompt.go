package main

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// force is the flag -f of verbs that destroy something.
type force bool

func (f *force) addFlag(c *cobra.Command) {
	c.Flags().BoolVarP((*bool)(f), "force", "f", false, "do not ask for confirmation")
}

// confirm asks for confirmation, unless -f was given. Without a terminal it returns an
// error.
func (a *app) confirm(c *cobra.Command, f force, question string) (bool, error) {
	if f {
		return true, nil
	}
	if !a.inTTY {
		return false, usageOf(c, fmt.Errorf("cannot ask for confirmation without a terminal: pass -f to skip the question: %s", question))
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
	fmt.Fprintln(a.err, "Cancelled.")
	return false, nil
}
