package digest_test

import (
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"kvd/kv"
	"kvd/kv/digest"
)

func TestTheExampleOfTheDocumentation(t *testing.T) {
	source, err := os.ReadFile("digest.go")
	if err != nil {
		t.Fatal(err)
	}
	if got := digest.Of("a", 1, 0, kv.Put).String(); !strings.Contains(string(source), "// "+got+".") {
		t.Errorf("the documentation does not have %s", got)
	}
	e := kv.Entry{Key: "a", Revision: 1, Created: time.Unix(0, 0), Operation: kv.Put}
	if digest.OfEntry(&e) != digest.Of("a", 1, 0, kv.Put) {
		t.Error("an entry has another digest than its record")
	}
}

// Records that swap anything have another digest, and every part of a record counts in both
// halves.
func TestEveryPartOfARecordCounts(t *testing.T) {
	sum := func(a, b kv.Digest) kv.Digest { return a.Add(b) }
	one, two := digest.Of("k", 5, 100, kv.Put), digest.Of("l", 6, 200, kv.Delete)
	for name, other := range map[string]kv.Digest{
		"times":      sum(digest.Of("k", 5, 200, kv.Put), digest.Of("l", 6, 100, kv.Delete)),
		"revisions":  sum(digest.Of("k", 6, 100, kv.Put), digest.Of("l", 5, 200, kv.Delete)),
		"operations": sum(digest.Of("k", 5, 100, kv.Delete), digest.Of("l", 6, 200, kv.Put)),
		"keys":       sum(digest.Of("l", 5, 100, kv.Put), digest.Of("k", 6, 200, kv.Delete)),
	} {
		if want := one.Add(two); other.High == want.High || other.Low == want.Low {
			t.Errorf("records with swapped %s have a half in common: %v and %v", name, other, want)
		}
	}
}

func TestTheOrderOfRecordsDoesNotCount(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 0))
	var numbers []kv.Digest
	var forward, backward kv.Digest
	for range 100 {
		numbers = append(numbers, digest.Of(string(rune('a'+rng.IntN(26))), kv.Revision(rng.Uint64()>>2), rng.Int64(), kv.Put))
	}
	for i := range numbers {
		forward, backward = forward.Add(numbers[i]), backward.Add(numbers[len(numbers)-1-i])
	}
	if forward != backward {
		t.Errorf("seed %d: %v and %v", seed, forward, backward)
	}
}

func BenchmarkOf(b *testing.B) {
	const key = "some.key.of.24.bytes.abc"
	var sum kv.Digest
	for b.Loop() {
		sum = sum.Add(digest.Of(key, 1<<20, 1<<60, kv.Put))
	}
	if sum == (kv.Digest{}) {
		b.Fatal("nothing was summed up")
	}
}
