package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"kvd/kv"
)

// stdinValue is the argument that means standard input.
const stdinValue = "-"

// value returns the value of a write: the argument, or standard input if the argument
// is "-" or absent. It reads at most one byte more than the largest value. An absent
// argument is never an empty value: it may be a variable that is not set.
func (a *app) value(c *cobra.Command, args []string, at int) ([]byte, error) {
	switch {
	case len(args) > at && args[at] != stdinValue:
		return []byte(args[at]), nil
	case len(args) <= at && a.inTTY:
		return nil, usageOf(c, errors.New(`VALUE is missing ("-" reads it from the terminal)`))
	}
	b, err := io.ReadAll(io.LimitReader(a.in, kv.MaxValueSizeLimit+1))
	if err != nil {
		return nil, fmt.Errorf("read the value from standard input: %w", err)
	}
	if len(b) > kv.MaxValueSizeLimit {
		return nil, &kv.LimitError{What: "size of the value on standard input", Got: int64(len(b)), Max: kv.MaxValueSizeLimit, Err: kv.ErrValueTooLarge}
	}
	if len(b) == 0 && len(args) <= at {
		return nil, usageOf(c, errors.New(`VALUE is missing, and standard input is empty: pass "" or "-" for an empty value`))
	}
	return b, nil
}

// numberMark begins an argument that must not be taken for a flag. No argument of a command
// line has this byte.
const numberMark = "\x00"

// protectNumbers marks the arguments of a write that begin with a minus and a digit: no flag
// does. takes removes the mark.
func protectNumbers(args []string) []string {
	verb := slices.IndexFunc(args, func(s string) bool { return s != "kv" })
	if verb < 0 || !slices.Contains([]string{"put", "create", "update"}, args[verb]) {
		return args
	}
	args = slices.Clone(args)
	for i, s := range args {
		if len(s) > 1 && s[0] == '-' && s[1] >= '0' && s[1] <= '9' {
			args[i] = numberMark + s
		}
	}
	return args
}

// unprotect removes the marks of protectNumbers.
func unprotect(args []string) {
	for i, s := range args {
		args[i] = strings.TrimPrefix(s, numberMark)
	}
}

// firstLine returns b up to its first line end.
func firstLine(b []byte) string {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	return string(bytes.TrimSuffix(line, []byte("\r")))
}
