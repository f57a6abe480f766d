package index

import (
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
)

// loadAll loads keys, each with one version.
func loadAll(keys []string) *Index {
	x := New()
	for i, key := range keys {
		x.Load(Hash(key), []byte(key), benchVersion(i+1), 0)
	}
	return x
}

func (x *Index) texts(o Order) (texts []string) {
	for _, ref := range o.refs {
		texts = append(texts, x.keys.text(ref))
	}
	return texts
}

// Keys that share long beginnings, and those that zeros alone distinguish.
func TestOrderIsThatOfBytes(t *testing.T) {
	zeros := []string{"a", "a\x00", "a\x00\x00", strings.Repeat("\x00", 7), strings.Repeat("\x00", 8), strings.Repeat("\x00", 9), "b"}
	for n := range 40 {
		zeros = append(zeros, strings.Repeat("same----", 5)+strings.Repeat("\x00", n))
	}
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 3))
		keys := append(testKeys(rng, 1000), zeros...)
		slices.Sort(keys)
		keys = slices.Compact(keys)
		want := slices.Clone(keys)
		rng.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		x := loadAll(keys)
		if got := x.texts(x.Order()); !slices.Equal(got, want) {
			t.Fatalf("seed %d: the order is %q", seed, got)
		}
	}
}

// Order runs beside readers and a writer, who changes, adds and removes keys.
func TestOrderRunsBesideWrites(t *testing.T) {
	keys := testKeys(rand.New(rand.NewPCG(1, 4)), 3000)
	x := loadAll(keys)
	var order Order
	var group sync.WaitGroup
	group.Go(func() { order = x.Order() })
	for i, key := range keys {
		switch v := benchVersion(len(keys) + i + 1); i % 3 {
		case 0:
			x.Trim(Hash(key), key, v.Revision, nil)
		case 1:
			x.Apply(Hash(key), key, v, v.Revision, nil)
		case 2:
			another := "+" + key[1:] // which may be there already
			x.Apply(Hash(another), another, v, 0, nil)
		}
	}
	group.Wait()
	x.UseOrder(order)
	for !x.BuildTree(100) {
	}
	checkTree(t, x)
	if least := len(keys) - (len(keys)+2)/3; x.Len() <= least || x.tree.count != x.Len() {
		t.Errorf("%d keys, %d in the tree, want more than %d", x.Len(), x.tree.count, least)
	}
}
