package wire

import "testing"

func TestKeyPattern(t *testing.T) {
	for filter, want := range map[string]string{
		"$KV.b.>": ">", "$KV.b.k": "k", "$KV.b.a.*": "a.*", "$KV.*.k": "k", "*.*.>": ">", ">": ">", "$KV.>": ">", "*.b.x.>": "x.>",
		"$KV.c.>": "", "$KV.b": "", "$KV": "", "b.k": "", "$KV.b.K*": "K*", "$KV.b.user:1,*.>": "user:1,*.>", "$KV.b.a b": "", "$KV.b.>.a": "",
	} {
		got, ok := KeyPattern(filter, "b")
		if !ok {
			got = ""
		}
		if got != want {
			t.Errorf("%q is %q, want %q", filter, got, want)
		}
	}
}

func TestOverlap(t *testing.T) {
	for _, c := range []struct {
		p, q string
		want bool
	}{
		{"$KV.*.>", "$KV.b.>", true}, {"a.b", "a.b", true}, {"a.b", "a.c", false}, {"a.*", "*.b", true},
		{"a", "a.b", false}, {">", "x", true}, {"a.>", "a", false}, {"a.>", "a.b.c", true},
	} {
		if Overlap(c.p, c.q) != c.want || Overlap(c.q, c.p) != c.want {
			t.Errorf("%q and %q: want %v", c.p, c.q, c.want)
		}
	}
}
