package streamconfig

import (
	"strings"
	"testing"

	"kvd/server/nats/wire"
)

func TestTransform(t *testing.T) {
	for _, c := range []struct{ source, destination, subject, want string }{
		{">", "copy.>", "a.b", "copy.a.b"},
		{">", "copy.>", "a", "copy.a"},
		{"a.>", "copy.>", "a.b.c", "copy.b.c"},
		{"a.>", "copy.>", "a", ""},
		{"a.>", "copy.>", "b.c", ""},
		{"a.*", "$1", "a.b", "b"},
		{"a.*.*", "$2.x.$1", "a.b.c", "c.x.b"},
		{"*.*.>", "{{wildcard(2)}}.{{ Wildcard( 1 ) }}.>", "a.b.c.d", "b.a.c.d"},
		{"*", "same.same", "a", "same.same"},
		{"a", "b", "a", "b"},
		{"*", "$x.$", "a", "$x.$"},
	} {
		tr, err := NewTransform(c.source, c.destination)
		if err != nil {
			t.Errorf("%s to %s: %v", c.source, c.destination, err)
			continue
		}
		got, ok := tr.Append([]byte("before "), []byte(c.subject))
		if want := "before " + c.want; string(got) != want || ok != (c.want != "") {
			t.Errorf("%s to %s: %s becomes %q, %v, want %q", c.source, c.destination, c.subject, got, ok, want)
		}
	}
}

func FuzzTransform(f *testing.F) {
	f.Add("a.*.>", "b.$1.>", "a.x.y.z")
	f.Add("*.*", "{{wildcard(2)}}", "a.b")
	f.Add(">", ">", "a")
	f.Fuzz(func(t *testing.T, source, destination, subject string) {
		tr, err := NewTransform(source, destination)
		if err != nil || !wire.ValidSubject([]byte(subject)) || !wire.IsLiteral([]byte(subject)) {
			return
		}
		got, ok := tr.Append(nil, []byte(subject))
		if ok && !wire.Overlap(tr.Pattern(), string(got)) {
			t.Errorf("%q is not of the pattern %q", got, tr.Pattern())
		}
		if ok && strings.Count(string(got), ".") < strings.Count(destination, ".") && !strings.Contains(destination, "{{") {
			t.Errorf("%q has fewer tokens than %q", got, destination)
		}
	})
}
