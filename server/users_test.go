package server

import (
	"regexp"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// hash is the cheapest bcrypt hash of a password.
func hash(t testing.TB, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

// mustParse parses a file of users.
func mustParse(t testing.TB, file string) *Users {
	t.Helper()
	u, err := ParseUsers(strings.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestParseUsers(t *testing.T) {
	h := hash(t, "secret")
	users := mustParse(t, "# users\n\n  alice "+h+"  my-kv=get,put cfg-*=get  *-log=watch,del\r\nbob\t"+h+" *=get,put,del,watch,admin\nnobody "+h+"\n")
	for _, tt := range []struct {
		user, bucket string
		may          Permission
	}{
		{"alice", "my-kv", MayGet | MayPut},
		{"alice", "my-kv2", 0},
		{"alice", "cfg-", MayGet},
		{"alice", "cfg-a-b", MayGet},
		{"alice", "cfg", 0},
		{"alice", "a-log", MayWatch | MayDel},
		{"alice", "cfg-log", MayGet | MayWatch | MayDel},
		{"bob", "anything", MayAny},
		{"nobody", "my-kv", 0},
		{"stranger", "my-kv", 0},
	} {
		u := users.byName[tt.user]
		for p := MayGet; p <= MayAdmin; p <<= 1 {
			if got := u.may(p, tt.bucket); got != (tt.may&p != 0) {
				t.Errorf("%s may %b in %s: %v", tt.user, p, tt.bucket, got)
			}
		}
		if got := u.may(MayAny, tt.bucket); got != (tt.may != 0) {
			t.Errorf("%s may anything in %s: %v", tt.user, tt.bucket, got)
		}
	}
}

func TestParseUsersNamesTheLine(t *testing.T) {
	h := hash(t, "secret")
	for _, tt := range []struct{ file, want string }{
		{"", "no users in the file"},
		{"# only a comment\n", "no users in the file"},
		{"alice\n", "line 1: must be a name"},
		{"alice " + h + "\nbob secret\n", "line 2: user \"bob\" has neither a bcrypt hash nor"},
		{"alice " + h + "\n\nalice " + h + "\n", "line 3: user \"alice\" stands twice"},
		{"alice " + strings.Replace(h, "$04$", "$15$", 1) + "\n", "line 1: the hash of \"alice\" has cost 15: must be at most 14"},
		{"alice " + h + " my-kv\n", "user \"alice\": grant \"my-kv\": must be BUCKETS=VERBS"},
		{"alice " + h + " =get\n", "must be BUCKETS=VERBS"},
		{"alice " + h + " a.b=get\n", "'.' is not allowed"},
		{"alice " + h + " b=get,,put\n", "verb \"\": must be"},
		{"alice " + h + " b=fly\n", "verb \"fly\": must be"},
		{strings.Repeat("a", 65) + " " + h + "\n", "a user name of 65 bytes"},
		{"älice " + h + "\n", "byte 0xc3 is not allowed"},
		{"alice " + h + " " + strings.Repeat("b=get ", 20_000) + "\n", "token too long"},
	} {
		if _, err := ParseUsers(strings.NewReader(tt.file)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%.60q: error %v, want one about %q", tt.file, err, tt.want)
		}
	}
}

// FuzzMatchBucket compares patterns with regular expressions.
func FuzzMatchBucket(f *testing.F) {
	for _, seed := range [][2]string{{"*", ""}, {"a*b*c", "aXbYbZc"}, {"**a", "ba"}, {"a", "ab"}, {"*ab", "aab"}, {"", ""}, {"*a*a*a*a*b", "aaaaaaaaaaaaaaaa"}} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if strings.ContainsFunc(pattern+name, func(r rune) bool { return r > 'z' || r < ' ' }) {
			return // names contain neither
		}
		want := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*") + "$").MatchString(name)
		if got := matchBucket(pattern, name); got != want {
			t.Errorf("matchBucket(%q, %q) is %v", pattern, name, got)
		}
	})
}

func TestHashPassword(t *testing.T) {
	h, err := HashPassword("two words")
	if err != nil {
		t.Fatal(err)
	}
	users := mustParse(t, "alice "+h+" b=get\n")
	if bcrypt.CompareHashAndPassword([]byte(users.byName["alice"].credential), []byte("two words")) != nil {
		t.Errorf("%s is not its hash", h)
	}
	if _, err := HashPassword(strings.Repeat("x", 73)); err == nil {
		t.Error("a password of 73 bytes has a hash")
	}
}
