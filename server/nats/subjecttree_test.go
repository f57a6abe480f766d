package nats

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestSubjectTree compares what is found with what matches, subscription by subscription,
// while they come and go.
func TestSubjectTree(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	tokens := []string{"a", "b", "c", "*", ">", "a*"}
	subject := func(wild bool) string {
		var parts []string
		for range 1 + r.IntN(4) {
			token := tokens[r.IntN(len(tokens))]
			if !wild && (token == "*" || token == ">") {
				token = "a"
			}
			parts = append(parts, token)
			if token == ">" {
				break
			}
		}
		return strings.Join(parts, ".")
	}
	var l subjectTree[*subscription]
	var there []*subscription
	for range 5000 {
		if n := len(there); n > 0 && r.IntN(3) == 0 {
			i := r.IntN(n)
			if !l.remove(there[i].subject, there[i]) || l.remove(there[i].subject, there[i]) {
				t.Fatal("a subscription is not removed once")
			}
			there = slices.Delete(there, i, i+1)
		} else {
			s := &subscription{subject: subject(true)}
			l.insert(s.subject, s)
			there = append(there, s)
		}
		published := subject(false)
		found := l.match(nil, []byte(published))
		for _, s := range there {
			if got, want := slices.Contains(found, s), matches(s.subject, published); got != want {
				t.Fatalf("%q finds %q: %v", published, s.subject, got)
			}
		}
	}
	for _, s := range there {
		l.remove(s.subject, s)
	}
	if !l.root.isEmpty() || l.size != 0 {
		t.Error("levels are left")
	}
}

func TestKeyPattern(t *testing.T) {
	for filter, want := range map[string]string{
		"$KV.b.>": ">", "$KV.b.k": "k", "$KV.b.a.*": "a.*", "$KV.*.k": "k", "*.*.>": ">", ">": ">", "$KV.>": ">", "*.b.x.>": "x.>",
		"$KV.c.>": "", "$KV.b": "", "$KV": "", "b.k": "", "$KV.b.K*": "", "$KV.b.a b": "", "$KV.b.>.a": "",
	} {
		got, ok := keyPattern(filter, "b")
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
		if overlap(c.p, c.q) != c.want || overlap(c.q, c.p) != c.want {
			t.Errorf("%q and %q: want %v", c.p, c.q, c.want)
		}
	}
}
