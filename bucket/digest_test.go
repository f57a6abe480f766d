package bucket

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"kvd/index"
	"kvd/internal/view"
	"kvd/kv"
	"kvd/kv/digest"
)

// checkDigests compares the digest of each bucket that has one with its records, all of which
// the rules must keep. The harness calls it before each close and after each open.
func checkDigests(t testing.TB, s *Store) {
	t.Helper()
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, b := range s.mu.ids {
		b.mu.RLock()
		got := b.digestLocked()
		want, dead := recount(b)
		b.mu.RUnlock()
		if got == nil {
			continue
		}
		if *got != want {
			t.Errorf("the digest of bucket %q is %v, that of its records %v", b.name, got, want)
		}
		if dead > 0 {
			t.Errorf("the digest of bucket %q counts %d records that the rules remove", b.name, dead)
		}
	}
}

// recount returns the digest of the records in the index of a bucket, and how many of them the
// rules remove. The caller holds mu.
func recount(b *Bucket) (sum kv.Digest, dead int) {
	b.mu.index.All(func(key []byte, _ index.Version) bool {
		name := view.String(key)
		versions := b.mu.index.Versions(nil, index.Hash(name), name)
		for _, v := range versions {
			sum = sum.Add(digest.Of(name, v.Revision, v.Created, v.Op))
		}
		dead += len(versions) - len(b.mu.live.Filter(append([]index.Version(nil), versions...)))
		return true
	})
	return sum, dead
}

func mustDigest(t testing.TB, b *Bucket) kv.Digest {
	t.Helper()
	st, err := b.Status(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if st.Digest == nil {
		t.Fatalf("the digest of bucket %q is not known", b.name)
	}
	return *st.Digest
}

// Random histories with everything that removes records, and with every way in which a store
// ends. A restart does not change the digest.
func TestTheDigestAfterRandomHistories(t *testing.T) {
	for seed := range uint64(1 + 19/slowness) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) { digestHistory(t, rand.New(rand.NewPCG(seed, 1))) })
	}
}

func digestHistory(t *testing.T, rng *rand.Rand) {
	a := newAging(t, func(o *Options) { o.ImageKeys = 1 - rng.IntN(2)*2 }) // with images, or without
	b := a.bucket("b", withHistory(1+rng.IntN(5)), withTTL(time.Duration(rng.IntN(2))*40*time.Second))
	for range 60 {
		for range rng.IntN(20) {
			digestMutation(t, rng, b)
		}
		digestDecision(t, rng, a, b)
		checkDigests(t, a.s)
		if rng.IntN(4) > 0 {
			continue
		}
		before := mustDigest(t, b)
		switch rng.IntN(3) {
		case 0:
			a.reopen()
		case 1:
			a.kill()
			a.open()
		default:
			a.powerCut()
			a.open()
		}
		if b = a.find("b"); mustDigest(t, b) != before {
			t.Fatalf("the digest was %v, and is %v after a restart", before, mustDigest(t, b))
		}
	}
	if err := a.s.Close(); err != nil {
		t.Fatal(err)
	}
	if report := a.verify(); report.Err() != nil {
		t.Fatal(report.Err())
	}
}

func digestMutation(t *testing.T, rng *rand.Rand, b *Bucket) {
	t.Helper()
	key := fmt.Sprintf("key.%d", rng.IntN(30))
	var err error
	switch rng.IntN(8) {
	case 0:
		_, err = b.Delete(ctx, key)
	case 1:
		_, err = b.Purge(ctx, key)
	case 2:
		_, err = b.Purge(ctx, key, kv.PurgeTTL(time.Duration(1+rng.IntN(60))*time.Second))
	case 3:
		_, err = b.Put(ctx, key, nil, kv.KeyTTL(time.Duration(1+rng.IntN(60))*time.Second))
	default:
		_, err = b.Put(ctx, key, make([]byte, rng.IntN(300)))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// digestDecision changes the bucket or the store as a whole.
func digestDecision(t *testing.T, rng *rand.Rand, a *aging, b *Bucket) {
	t.Helper()
	var err error
	switch rng.IntN(9) {
	case 0:
		err = b.PurgeDeletes(ctx, []time.Duration{-1, 10 * time.Second}[rng.IntN(2)])
	case 1:
		config, _ := b.config()
		config.History = 1 + rng.IntN(5)
		_, err = a.s.UpdateBucket(ctx, config)
	case 2, 3:
		a.clock.advance(time.Duration(rng.IntN(30)) * time.Second)
		err = a.s.Sweep(ctx)
	case 4:
		err = a.s.Checkpoint(ctx)
	case 5:
		_, err = a.s.Reclaim(ctx, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// While records that the rules remove wait for their removal, the digest is not known: a
// checkpoint of that moment has none.
func TestTheDigestIsUnknownBeforeRemovals(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", withHistory(2))
	mustPut(t, b, "k", "1")
	mustPut(t, b, "k", "2")
	h.checkpoint()
	if d := h.s.checkpoint.state.Buckets[b.id].Digest; d == nil || *d != mustDigest(t, b) {
		t.Fatalf("the manifest has the digest %v, the bucket %v", d, mustDigest(t, b))
	}
	b.mu.Lock()
	b.mu.rulesPending++
	b.mu.Unlock()
	mustPut(t, b, "l", "1")
	h.checkpoint()
	if d := h.s.checkpoint.state.Buckets[b.id].Digest; d != nil {
		t.Errorf("the manifest has the digest %v of records that are about to be removed", d)
	}
	b.finishRules()
	mustDigest(t, b)
}
