package kv_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"kvd/kv"
)

func TestMatch(t *testing.T) {
	tests := []struct {
		pattern string
		selects []string
		not     []string
	}{
		{"a", []string{"a"}, []string{"b", "A", "aa", "a.a", "a/a"}},
		{"a.b", []string{"a.b"}, []string{"a", "b", "a.b.c", "a.bc", "a/b"}},
		{"*", []string{"a", "abc", "a/b=c"}, []string{"a.b"}},
		{"*.*", []string{"a.b"}, []string{"a", "a.b.c"}},
		{"a.*", []string{"a.b", "a.-"}, []string{"a", "b.b", "a.b.c"}},
		{"*.a", []string{"a.a", "b.a"}, []string{"a", "a.b", "a.a.a"}},
		{"a.*.c", []string{"a.b.c", "a.a.c"}, []string{"a.c", "a.b.c.d", "a.b.b"}},
		{">", []string{"a", "a.b", "a.b.c.d.e"}, nil},
		{"a.>", []string{"a.b", "a.b.c"}, []string{"a", "b.a", "ab.c"}},
		{"*.>", []string{"a.b", "b.c.d"}, []string{"a"}},
		{"a.*.>", []string{"a.b.c", "a.b.c.d"}, []string{"a.b", "a"}},
	}
	for _, tt := range tests {
		t.Run(tt.pattern, func(t *testing.T) {
			for _, key := range tt.selects {
				if !kv.Match(tt.pattern, key) {
					t.Errorf("%q is not selected", key)
				}
			}
			for _, key := range tt.not {
				if kv.Match(tt.pattern, key) {
					t.Errorf("%q is selected", key)
				}
			}
		})
	}
}

func TestMatchAny(t *testing.T) {
	tests := []struct {
		patterns []string
		key      string
		want     bool
	}{
		{nil, "a", true},
		{[]string{}, "a.b", true},
		{[]string{"b"}, "a", false},
		{[]string{"b", "a"}, "a", true},
		{[]string{"b", "c.>"}, "c.d", true},
		{[]string{"b", "c.>"}, "c", false},
	}
	for _, tt := range tests {
		if got := kv.MatchAny(tt.patterns, tt.key); got != tt.want {
			t.Errorf("MatchAny(%q, %q) is %v", tt.patterns, tt.key, got)
		}
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { kv.Match("a.*.c.>", "a.b.c.d.e") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestLiteralPrefix(t *testing.T) {
	for pattern, want := range map[string]string{
		"a":       "a",
		"a.b.c":   "a.b.c",
		"*":       "",
		">":       "",
		"*.a":     "",
		"*.*":     "",
		"*.>":     "",
		"a.*":     "a.",
		"a.>":     "a.",
		"a.*.b":   "a.",
		"a.*.>":   "a.",
		"a.b.*.*": "a.b.",
		"a.b.>":   "a.b.",
		"*.a.b.>": "",
		"a*.>b.c": "a*.>b.c",
		"a*.*.>":  "a*.",
	} {
		if got := kv.LiteralPrefix(pattern); got != want {
			t.Errorf("LiteralPrefix(%q) is %q, want %q", pattern, got, want)
		}
	}
}

// TestEveryShortPattern compares Match and LiteralPrefix with the definition for
// every pattern and key of up to four tokens from a small alphabet.
func TestEveryShortPattern(t *testing.T) {
	patterns, keys := tokens(4, "a", "a*", "*", ">"), tokens(4, "a", "a*", "b")
	for _, pattern := range patterns {
		if kv.CheckPattern(pattern) != nil {
			continue
		}
		naive := naiveMatcher(pattern)
		var selected []string
		for _, key := range keys {
			if got, want := kv.Match(pattern, key), naive.MatchString(key); got != want {
				t.Fatalf("Match(%q, %q) is %v", pattern, key, got)
			} else if got {
				selected = append(selected, key)
			}
		}
		if got, want := kv.LiteralPrefix(pattern), commonPrefix(selected); got != want {
			t.Fatalf("LiteralPrefix(%q) is %q, the keys it selects begin with %q", pattern, got, want)
		}
	}
}

// tokens returns all strings of one to n tokens.
func tokens(n int, alphabet ...string) []string {
	all := slices.Clone(alphabet)
	if n > 1 {
		for _, rest := range tokens(n-1, alphabet...) {
			for _, first := range alphabet {
				all = append(all, first+"."+rest)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func commonPrefix(keys []string) string {
	if len(keys) == 0 {
		return ""
	}
	prefix := keys[0]
	for _, key := range keys {
		for !strings.HasPrefix(key, prefix) {
			prefix = prefix[:len(prefix)-1]
		}
	}
	return prefix
}

// naiveMatcher is the definition of patterns as a regular expression.
func naiveMatcher(pattern string) *regexp.Regexp {
	parts := strings.Split(pattern, ".")
	for i, part := range parts {
		switch {
		case part == "*":
			parts[i] = `[^.]+`
		case part == ">" && i == len(parts)-1:
			parts[i] = `[^.]+(\.[^.]+)*`
		default:
			parts[i] = regexp.QuoteMeta(part)
		}
	}
	return regexp.MustCompile(`^` + strings.Join(parts, `\.`) + `$`)
}

// FuzzPatternMatch compares Match with a regular expression, and checks that
// what a pattern selects begins with its literal prefix.
func FuzzPatternMatch(f *testing.F) {
	for _, seed := range [][2]string{
		{"a", "a"}, {"*", "a.b"}, {">", "a.b"}, {"a.*", "a.b"}, {"a.>", "a"}, {"*.b.>", "a.b.c"}, {"a.*.c", "a.b.c"}, {"a=/", "a=/"}, {"a*", "a*"}, {"*>.*", "*>.b"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, key string) {
		if kv.CheckPattern(pattern) != nil || kv.CheckKey(key) != nil {
			return
		}
		got := kv.Match(pattern, key)
		if want := naiveMatcher(pattern).MatchString(key); got != want {
			t.Errorf("Match(%q, %q) is %v, want %v", pattern, key, got, want)
		}
		prefix := kv.LiteralPrefix(pattern)
		if !strings.HasPrefix(pattern, prefix) || slices.ContainsFunc(strings.Split(prefix, "."), isWildcard) {
			t.Errorf("LiteralPrefix(%q) is %q", pattern, prefix)
		}
		if got && !strings.HasPrefix(key, prefix) {
			t.Errorf("%q selects %q, which does not begin with %q", pattern, key, prefix)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	for _, bm := range []struct{ name, pattern, key string }{
		{"literal", "service.eu.web.1.status", "service.eu.web.1.status"},
		{"wildcards", "service.*.web.*.>", "service.eu.web.1.status"},
		{"miss", "user.>", "service.eu.web.1.status"},
	} {
		b.Run("pattern="+bm.name, func(b *testing.B) {
			b.ReportAllocs()
			want, hits := kv.Match(bm.pattern, bm.key), 0
			n := 0
			for b.Loop() {
				n++
				if kv.Match(bm.pattern, bm.key) == want {
					hits++
				}
			}
			if hits != n {
				b.Fatal("Match changed its mind")
			}
		})
	}
}
