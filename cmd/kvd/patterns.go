package main

import (
	"fmt"
	"slices"
	"strings"
)

// patterns returns the patterns of a command. It warns of one that looks like a shell's: a
// wildcard is a whole token, and in "K*" the star is a character of the key.
func (a *app) patterns(args []string) []string {
	for _, p := range args {
		if slices.ContainsFunc(strings.Split(p, "."), isHalfWildcard) {
			fmt.Fprintf(a.err, "kvd: warning: %q selects by its characters: * and > are wildcards as whole tokens between dots only\n", p)
		}
	}
	return args
}

func isHalfWildcard(token string) bool {
	return len(token) > 1 && strings.ContainsAny(token, "*>")
}
