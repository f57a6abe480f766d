package bucket

import (
	"testing"

	"kvd/kv"
)

// commits collects what an Observer is told.
type commits []Commit

func (c *commits) Committed(one Commit) { *c = append(*c, one) }

func TestObserverIsToldOfEveryCommit(t *testing.T) {
	var seen commits
	h := newHarness(t, func(o *Options) { o.Observer = &seen })
	b := h.bucket("b")
	mustPut(t, b, "k", "v")
	if _, err := b.Create(ctx, "k", nil); err == nil {
		t.Fatal("a key was created twice")
	}
	h.submit(
		kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: "x"},
		kv.Mutation{Bucket: "b", Op: kv.MutateCreate, Key: "k"},
		kv.Mutation{Bucket: "b", Op: kv.MutateDelete, Key: "k"},
	)
	if len(seen) != 2 || seen[0].Records != 1 || seen[1].Records != 2 {
		t.Fatalf("the observer saw %+v, want a commit of 1 record and one of 2", seen)
	}
	for _, c := range seen {
		if c.Bytes < 64*c.Records || c.Sync <= 0 {
			t.Errorf("the observer saw %+v", c)
		}
	}
}
