package client

import (
	"kvd/internal/lineproto"
	"kvd/kv"
)

// patternsMax is how long the patterns of a command may be together, in bytes and
// with commas: the rest of a line goes to names, numbers and options.
const patternsMax = lineproto.MaxLine - kv.MaxBucketNameSize - 256

// fitPatterns returns what to ask the server for and, if that is more than the
// patterns select because they do not fit in a line, the patterns by which to
// sort out what comes.
func fitPatterns(patterns []string) (sent string, left []string) {
	if patternsSize(patterns) > patternsMax {
		return lineproto.AllPatterns, append([]string(nil), patterns...)
	}
	return lineproto.JoinPatterns(patterns), nil
}

func patternsSize(patterns []string) int {
	size := 0
	for _, p := range patterns {
		size += len(p) + len(",")
	}
	return size
}

// checkPatterns returns the error of the first bad pattern.
func checkPatterns(patterns []string) error {
	for _, p := range patterns {
		if err := kv.CheckPattern(p); err != nil {
			return err
		}
	}
	return nil
}
