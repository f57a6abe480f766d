package client

import (
	"kvd/internal/lineproto"
	"kvd/kv"
)

// patternsMax bounds the patterns of a command, in bytes, commas included. The rest of
// the line is for names, numbers and options.
const patternsMax = lineproto.MaxLine - kv.MaxBucketNameSize - 256

// fitPatterns returns the patterns to send. If the given ones do not fit in a line, that
// is a pattern for all keys, and fitPatterns also returns the patterns by which the
// client must filter.
func fitPatterns(patterns []string) (sent string, left []string) {
	if sent = lineproto.JoinPatterns(patterns); len(sent) > patternsMax {
		return lineproto.AllPatterns, append([]string(nil), patterns...)
	}
	return sent, nil
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
