package lineproto_test

import (
	"slices"
	"testing"

	"kvd/internal/lineproto"
)

func TestPatternsAreJoinedAndSplit(t *testing.T) {
	for joined, patterns := range map[string][]string{
		">":                 nil,
		"a.*":               {"a.*"},
		"a,b":               {"a", "b"},
		`"a,b"`:             {"a,b"},
		`"a,b.*",c,"\"d.>"`: {"a,b.*", "c", `"d.>`},
		`a"b,c\`:            {`a"b`, `c\`},
		`"\\,\"",ü`:         {`\,"`, "ü"},
	} {
		if got := lineproto.JoinPatterns(patterns); got != joined {
			t.Errorf("%q are joined to %s, want %s", patterns, got, joined)
		}
		if got := lineproto.SplitPatterns(joined); !slices.Equal(got, patterns) {
			t.Errorf("%s is split into %q, want %q", joined, got, patterns)
		}
	}
}
