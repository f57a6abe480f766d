package kv_test

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"kvd/kv"
)

func TestCheckBucketName(t *testing.T) {
	tests := []struct {
		name   string
		offset int // of the byte refused; -1: the name as such, ok: nothing
	}{
		{"b", ok},
		{"my-kv", ok},
		{"A_z-09", ok},
		{strings.Repeat("b", kv.MaxBucketNameSize), ok},
		{"", -1},
		{strings.Repeat("b", kv.MaxBucketNameSize+1), -1},
		{".", 0},
		{"a.b", 1},
		{"a/b", 1},
		{"a=b", 1},
		{"a b", 1},
		{"ab*", 2},
		{"ab>", 2},
		{"a\x00", 1},
		{"aü", 1},
		{"a\xff", 1},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%.20q", tt.name), func(t *testing.T) {
			checkName(t, kv.CheckBucketName(tt.name), tt.offset, kv.ErrInvalidBucketName)
		})
	}
}

func TestCheckKey(t *testing.T) {
	tests := []struct {
		key    string
		offset int
	}{
		{"k", ok},
		{"a.b.c", ok},
		{"-/_=", ok},
		{"/a//b/", ok},
		{"a.-", ok},
		{strings.Repeat("k", kv.MaxKeySize), ok},
		{"", -1},
		{strings.Repeat("k", kv.MaxKeySize+1), -1},
		{".", 0},
		{".a", 0},
		{"a.", 1},
		{"a..b", 2},
		{"a.b.", 3},
		{"a...b", 2},
		{"*", 0},
		{"a.>", 2},
		{"user:1", ok},
		{"a,b", ok},
		{"a\\b", ok},
		{`"a"`, ok},
		{"a*.b>.**", ok},
		{"ключ.鍵.🔑", ok},
		{"a\u00a0b", ok}, // a blank of another alphabet is a character to NATS
		{"a\uFFFD", ok},
		{strings.Repeat("ü", kv.MaxKeySize/2), ok},
		{strings.Repeat("ü", kv.MaxKeySize/2) + "k", -1},
		{"a b", 1},
		{"a\nb", 1},
		{"a\x7f", 1},
		{"a.\u0085", 2},
		{"a.\u009b1m", 2},
		{"a.\xc3", 2},
		{"a.\xed\xa0\x80", 2}, // half of a pair
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%.20q", tt.key), func(t *testing.T) {
			checkName(t, kv.CheckKey(tt.key), tt.offset, kv.ErrInvalidKey)
		})
	}
}

func TestCheckPattern(t *testing.T) {
	tests := []struct {
		pattern string
		offset  int
	}{
		{"k", ok},
		{"a.b.c", ok},
		{"*", ok},
		{">", ok},
		{"*.*", ok},
		{"a.*.c", ok},
		{"*.>", ok},
		{"a.>", ok},
		{strings.Repeat("*.", kv.MaxKeySize/2-1) + "*", ok},
		{"", -1},
		{strings.Repeat("k", kv.MaxKeySize+1), -1},
		{".*", 0},
		{"*.", 1},
		{"a..>", 2},
		{"a*.*.>", ok}, // a* is no wildcard
		{"**", ok},
		{"a.>>.b", ok},
		{`"a,b".*`, ok},
		{">.a", 0},
		{"a.>.b", 2},
		{"a b", 1},
		{"*.\x7f", 2},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%.20q", tt.pattern), func(t *testing.T) {
			checkName(t, kv.CheckPattern(tt.pattern), tt.offset, kv.ErrInvalidPattern)
		})
	}
}

const ok = -2 // in place of an offset: the name is allowed

// checkName checks what the rules say of one name.
func checkName(t *testing.T, err error, offset int, kind error) {
	t.Helper()
	if offset == ok {
		if err != nil {
			t.Errorf("refused: %v", err)
		}
		return
	}
	var bad *kv.NameError
	if !errors.As(err, &bad) || !errors.Is(err, kind) {
		t.Fatalf("error is %v, want a NameError that matches %q", err, kind)
	}
	if bad.Offset != offset {
		t.Errorf("offset is %d, want %d", bad.Offset, offset)
	}
}

func TestNameErrorSaysWhatAndWhere(t *testing.T) {
	for name, want := range map[string]string{
		"":                        `invalid key "": it is empty`,
		"a b":                     `invalid key "a b": ' ' is not allowed at byte 1`,
		"a.\u0085":                `invalid key "a.\u0085": '\u0085' is not allowed at byte 2`,
		"a\xff":                   `invalid key "a\xff": byte 0xff is not allowed at byte 1`,
		"a.*":                     `invalid key "a.*": the token "*" is a wildcard at byte 2`,
		"a..b":                    `invalid key "a..b": empty token at byte 2`,
		strings.Repeat("k", 5000): `invalid key "` + strings.Repeat("k", 64) + `": 5000 bytes, at most 1024`,
	} {
		if err := kv.CheckKey(name); err == nil || err.Error() != want {
			t.Errorf("error is %v, want %s", err, want)
		}
	}
}

// The rules once more.
var bucketRegexp = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)

func isKey(name string) bool {
	return isPattern(name) && !slices.ContainsFunc(strings.Split(name, "."), isWildcard)
}

func isPattern(name string) bool {
	all := strings.Split(name, ".")
	middle := all[:len(all)-1]
	return utf8.ValidString(name) && len(name) <= kv.MaxKeySize && !slices.Contains(all, "") && !slices.Contains(middle, ">") &&
		!strings.ContainsFunc(name, func(r rune) bool { return r == ' ' || unicode.IsControl(r) })
}

func isWildcard(token string) bool { return token == "*" || token == ">" }

// FuzzCheckNames compares the checks with the rules as they are above.
func FuzzCheckNames(f *testing.F) {
	for _, seed := range []string{"a.b", "a.*.>", "", ".", "a..b", "\n", "a\n", "ü", "*.", ">.>", "-/_=", "b\xff", "a*.>b", "\u0085", "a\x7f"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if got, want := kv.CheckKey(name) == nil, isKey(name); got != want {
			t.Errorf("key %q: allowed is %v, want %v", name, got, want)
		}
		if got, want := kv.CheckPattern(name) == nil, isPattern(name); got != want {
			t.Errorf("pattern %q: allowed is %v, want %v", name, got, want)
		}
		if got, want := kv.CheckBucketName(name) == nil, bucketRegexp.MatchString(name) && len(name) <= kv.MaxBucketNameSize; got != want {
			t.Errorf("bucket name %q: allowed is %v, want %v", name, got, want)
		}
		var bad *kv.NameError
		if errors.As(kv.CheckKey(name), &bad) && (bad.Offset < -1 || bad.Offset >= len(name) || len(bad.Name) > 64) {
			t.Errorf("key %.80q: offset is %d, name shown is %d bytes", name, bad.Offset, len(bad.Name))
		}
	})
}
