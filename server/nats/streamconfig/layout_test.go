package streamconfig

import (
	"math/rand/v2"
	"strings"
	"testing"

	"kvd/kv"
	"kvd/kv/msglog"
)

// A subject becomes a valid key, and the key becomes the subject again. The pattern of a
// filter matches the key if the filter matches the subject.
func TestLayout(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 2))
	tokens := []string{"a", "b", "a_b", "=", "=41", "ü", "a*", "x:y", "\xff", "-/_", "%"}
	subject := func(wild ...string) string {
		all := append(tokens[:len(tokens):len(tokens)], wild...)
		var parts []string
		for range 1 + r.IntN(4) {
			parts = append(parts, all[r.IntN(len(all))])
			if parts[len(parts)-1] == ">" {
				break
			}
		}
		return strings.Join(parts, ".")
	}
	for _, l := range []*Layout{NewLayout(MessageStreamPrefix+"S", false), NewLayout(MessageStreamPrefix+"S", true)} {
		selected := 0
		for n := range 20000 {
			published, filter := subject(), subject("*", ">", "*", ">")
			key, ok := l.Key([]byte(published))
			if !ok || kv.CheckKey(key) != nil {
				t.Fatalf("%q is the key %q", published, key)
			}
			if l.OnePerMessage {
				key = string(msglog.AppendSuffix([]byte(key+"."), kv.Revision(n)))
			}
			if back := string(l.AppendSubject(nil, key)); back != published {
				t.Fatalf("%q is %q again", published, back)
			}
			pattern, ok := l.Pattern(filter)
			if !ok {
				t.Fatalf("%q selects nothing", filter)
			}
			if got, want := kv.Match(pattern, key), kv.Match(filter, published); got != want {
				t.Fatalf("apart %v: %q selects %q: %v; %q %q: %v", l.OnePerMessage, filter, published, want, pattern, key, got)
			} else if got {
				selected++
			}
		}
		if selected == 0 {
			t.Error("nothing was selected")
		}
	}
}

// A key without the suffix of an append, which kvd's own tools may write, is a subject as
// it is.
func TestKeysThatNoAppendMade(t *testing.T) {
	l := NewLayout(MessageStreamPrefix+"S", true)
	for key, want := range map[string]string{
		string(msglog.AppendSuffix([]byte("a."), 7)): "a", "a": "a", "a.key.of.many.tokens.and.bytes": "a.key.of.many.tokens.and.bytes",
		"a.fffffffffffffffg": "a.fffffffffffffffg", "a=3Db=0D=0APING=20=9": "a=b=0D=0APING=20=9", ".ffffffffffffffff": ".ffffffffffffffff",
	} {
		if got := string(l.AppendSubject(nil, key)); got != want {
			t.Errorf("key %q is subject %q, want %q", key, got, want)
		}
	}
}

func TestStreamNames(t *testing.T) {
	for stream, want := range map[string]string{
		"KV_b": "b", "ORDERS": MessageStreamPrefix + "ORDERS", "my_stream-1": MessageStreamPrefix + "my__stream-1", "ü": MessageStreamPrefix + "_C3_BC",
		"KV": MessageStreamPrefix + "KV", "_41": MessageStreamPrefix + "__41", "": "", "a.b": "", "a b": "", "a/b": "",
		"KV_": MessageStreamPrefix + "KV__", "KV_ü": MessageStreamPrefix + "KV___C3_BC", "KV__kvd_x": MessageStreamPrefix + "KV____kvd__x", strings.Repeat("_", 200): "",
	} {
		bucket, ok := GrantsOf(stream)
		if !ok {
			bucket = ""
		}
		if bucket != want {
			t.Errorf("%q is in bucket %q, want %q", stream, bucket, want)
		}
		if back, ok := StreamOf(bucket); want != "" && (!ok || back != stream || kv.CheckBucketName(bucket) != nil) {
			t.Errorf("bucket %q is stream %q, want %q", bucket, back, stream)
		}
	}
	if bucket, ok := MessageBucketOf("KV_b"); !ok || NewLayout(bucket, true).Stream != "KV_b" || NewLayout(bucket, true).Grants != "b" {
		t.Errorf("a message stream KV_b is in bucket %q", bucket)
	}
	if stream, ok := StreamOf(msglog.ReservedBucket + "else"); ok {
		t.Errorf("another front end's bucket is stream %q", stream)
	}
}

func TestKeysCaptured(t *testing.T) {
	for pattern, want := range map[string]string{
		"$KV.b.>": "b", "$KV.b.k": "b", "$KV.b.*.x": "b", "$KV.*.k": "*", "$KV.>": "*", "$KV.*.>": "*", "*.b.k": "b", "*.*.k": "*",
		"$KV.b": "", "$KV": "", "*": "", "a.b.c": "", "$KV.ü.k": "", "kv.b.k": "",
	} {
		bucket, ok := KeysCaptured(pattern)
		if !ok {
			bucket = ""
		}
		if bucket != want {
			t.Errorf("%q captures keys of %q, want %q", pattern, bucket, want)
		}
	}
}
