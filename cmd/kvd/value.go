package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"kvd/kv"
)

// stdinValue is the argument that means standard input.
const stdinValue = "-"

// value returns the value of a write: the argument, or standard input if the argument
// is "-" or absent. It reads at most one byte more than the largest value.
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
	return b, nil
}

// firstLine returns b up to its first line end.
func firstLine(b []byte) string {
	line, _, _ := bytes.Cut(b, []byte("\n"))
	return string(bytes.TrimSuffix(line, []byte("\r")))
}
