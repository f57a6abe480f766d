package lineproto

import (
	"encoding/json"
	"strings"
	"unicode/utf8"
)

// AllPatterns selects every key.
const AllPatterns = ">"

// JoinPatterns returns patterns as one word: with commas between them, and as JSON strings
// those that begin with a quote or have a comma.
func JoinPatterns(patterns []string) string {
	if len(patterns) == 0 {
		return AllPatterns
	}
	var b []byte
	for i, p := range patterns {
		if i > 0 {
			b = append(b, ',')
		}
		if p != "" && p[0] == '"' || strings.Contains(p, ",") {
			b = appendQuoted(b, p)
		} else {
			b = append(b, p...)
		}
	}
	return string(b)
}

// SplitPatterns returns the patterns of a parsed command in the form that kv.Bucket takes,
// in memory of their own. It does not check them.
func SplitPatterns(patterns string) []string {
	if patterns == AllPatterns {
		return nil
	}
	all, _ := cutPatterns(strings.Clone(patterns)) // the parser has accepted them
	return all
}

// cutPatterns is the reverse of JoinPatterns. It reports false if a string is broken, or not
// followed by a comma.
func cutPatterns(joined string) (all []string, ok bool) {
	if !strings.Contains(joined, `"`) {
		return strings.Split(joined, ","), true
	}
	for more := true; more; {
		var p string
		if strings.HasPrefix(joined, `"`) {
			if p, joined, ok = cutString(joined); !ok {
				return nil, false
			}
			if more = joined != ""; more && joined[0] != ',' {
				return nil, false
			}
			joined = strings.TrimPrefix(joined, ",")
		} else {
			p, joined, more = strings.Cut(joined, ",")
		}
		all = append(all, p)
	}
	return all, true
}

// cutString splits s after the JSON string that it begins with, and decodes it.
func cutString(s string) (decoded, rest string, ok bool) {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			err := json.Unmarshal([]byte(s[:i+1]), &decoded)
			return decoded, s[i+1:], err == nil && utf8.ValidString(s[:i+1])
		}
	}
	return "", "", false
}
