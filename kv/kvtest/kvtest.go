package kvtest

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"kvd/kv"
)

// Harness tells the suite how to make the stores it tries.
type Harness struct {
	// Open returns a fresh, empty store and has t.Cleanup close it. The suite
	// may close it earlier, if the store has a method Close() error.
	Open func(t *testing.T) kv.Store

	// Reopen closes a store that Open or Reopen returned and opens its data again,
	// as after a restart. Nil for a store that keeps nothing.
	Reopen func(t *testing.T, s kv.Store) kv.Store

	// ShortestTTL is the shortest TTL that the store takes: facts about expiry wait
	// that long, in real time. 0 is a second.
	ShortestTTL time.Duration

	// Differs names the deliberate differences of the store, with the reasons.
	Differs map[Difference]string
}

// Difference is a way in which a store may behave differently from kvd.
type Difference string

// The differences that stores are known to have.
const (
	// ShorterBucketNames: a bucket's name has at most 252 bytes, not 255.
	ShorterBucketNames Difference = "shorter bucket names"

	// NarrowKeys: a key has the characters -/_=.a-zA-Z0-9 only.
	NarrowKeys Difference = "narrow keys"

	// HandlesFollowNames: a handle of a deleted bucket works again once a bucket
	// of that name is made, and reaches the new one.
	HandlesFollowNames Difference = "handles follow names"

	// ConditionsCountInSize: the overhead of a conditional write counts against
	// the bucket's max value size, so that Create and Update take a little less
	// than Put.
	ConditionsCountInSize Difference = "conditions count in size"

	// DeletesNeedRoom: a bucket at its size limit refuses the markers of deletes
	// and purges too.
	DeletesNeedRoom Difference = "deletes need room"

	// ListingsDrift: a listing of keys beside writers is not the state of one
	// revision. Keys without a write meanwhile are listed exactly once.
	ListingsDrift Difference = "listings drift"

	// EntriesDrift: All does not yield the state of one revision. A key that is deleted
	// while it runs may be left out, and one that is written may have its newer value.
	EntriesDrift Difference = "entries drift"

	// ReasonsHidden: the marker of a key that expired reads like a client's purge.
	ReasonsHidden Difference = "reasons hidden"

	// HistoryRaisesTTLs: in a bucket that keeps more than one revision a key's TTL is at
	// least the bucket's marker TTL, and when it has passed, older values are visible
	// again.
	HistoryRaisesTTLs Difference = "history raises TTLs"

	// DeltasDrift: the delta of a watch's event also counts records that the watch
	// leaves out, and changes that wait to be delivered.
	DeltasDrift Difference = "deltas drift"

	// EndsForgotten: a watch that is resumed at a revision below a marker that
	// PurgeDeletes has removed continues without an error.
	EndsForgotten Difference = "ends forgotten"

	// FutureResumes: a watch that is resumed at a revision above the next one waits for
	// it, and does not fail.
	FutureResumes Difference = "future resumes"

	// WatchesOutliveBuckets: a watch of a deleted bucket continues without an error, and
	// may deliver the records of another bucket of the same name.
	WatchesOutliveBuckets Difference = "watches outlive buckets"

	// NoCompression: a bucket with compression is refused with
	// kv.ErrNotSupported.
	NoCompression Difference = "no compression"

	// NoBucketConditions: a mutation with IfNewest is refused with
	// kv.ErrNotSupported.
	NoBucketConditions Difference = "no bucket conditions"
)

// differences has all differences. Run refuses any other one, which must be misspelt.
var differences = map[Difference]bool{
	ShorterBucketNames:    true,
	NarrowKeys:            true,
	HandlesFollowNames:    true,
	ConditionsCountInSize: true,
	DeletesNeedRoom:       true,
	ListingsDrift:         true,
	EntriesDrift:          true,
	DeltasDrift:           true,
	EndsForgotten:         true,
	FutureResumes:         true,
	WatchesOutliveBuckets: true,
	HistoryRaisesTTLs:     true,
	ReasonsHidden:         true,
	NoCompression:         true,
	NoBucketConditions:    true,
}

// fact is one sentence about stores, with the function that checks it.
type fact struct {
	name  string
	check func(t *trial)
}

// group is the facts about one subject.
type group struct {
	name  string
	facts []fact
}

// Run tries every fact against a store of h, each as a subtest.
func Run(t *testing.T, h Harness) {
	t.Helper()
	if err := h.check(); err != nil {
		t.Fatal(err)
	}
	store := h.Open(t)
	names := new(int)
	for _, g := range groupsFor(t, &h, store) {
		t.Run(g.name, func(t *testing.T) {
			for _, f := range g.facts {
				t.Run(f.name, func(t *testing.T) {
					f.check(&trial{T: t, Store: store, ctx: t.Context(), harness: &h, names: names})
				})
			}
		})
	}
}

// check returns an error if the harness itself makes no sense.
func (h *Harness) check() error {
	if h.Open == nil {
		return errors.New("kvtest: the Harness has no Open")
	}
	for d, reason := range h.Differs {
		if !differences[d] || reason == "" {
			return fmt.Errorf("kvtest: difference %q with reason %q: it must be a known one and have a reason", d, reason)
		}
	}
	return nil
}

// groupsFor returns the facts that apply to the store: all but those about optional parts
// that it does not have.
func groupsFor(t *testing.T, h *Harness, store kv.Store) []group {
	groups := []group{
		{"bucket", bucketFacts},
		{"config", configFacts},
		{"edit", editFacts},
		{"delete bucket", deleteBucketFacts},
		{"status", statusFacts},
		{"key", keyFacts},
		{"value", valueFacts},
		{"append", appendFacts},
		{"error", errorFacts},
		{"revision", revisionFacts},
		{"put", putFacts},
		{"create", createFacts},
		{"update", updateFacts},
		{"touch", touchFacts},
		{"delete", deleteFacts},
		{"purge", purgeFacts},
		{"option", optionFacts},
		{"history", historyFacts},
		{"get revision", getRevisionFacts},
		{"keys", listingFacts},
		{"all", allFacts},
		{"purge deletes", purgeDeletesFacts},
		{"size limit", sizeLimitFacts},
		{"context", contextFacts},
		{"stale reader", staleFacts},
		{"concurrency", concurrencyFacts},
		{"expiry", expiryFacts},
		{"watch", initialFacts},
		{"watch changes", changeFacts},
		{"watch resume", resumeFacts},
		{"watch end", endFacts},
		{"watch join", joinFacts},
	}
	b, err := store.CreateBucket(t.Context(), kv.Config{Bucket: "able"})
	if err != nil {
		t.Fatal(err)
	}
	if polls(t, b) {
		groups = append(groups, group{"watch poll", pollFacts})
	}
	if doubts(b) {
		groups = append(groups, group{"doubt", doubtFacts})
	}
	if _, ok := kv.As[kv.Submitter](store); ok {
		groups = append(groups, group{"submit", submitFacts})
	}
	if _, ok := kv.As[kv.Transactor](store); ok {
		groups = append(groups, group{"transaction", txnFacts}, group{"atomically", atomicallyFacts})
	}
	if _, ok := kv.As[kv.BucketImporter](store); ok {
		groups = append(groups, group{"import", importFacts})
	}
	if _, ok := store.(io.Closer); ok {
		groups = append(groups, group{"close", closeFacts}, group{"watch close", watchCloseFacts})
	}
	if h.Reopen != nil {
		groups = append(groups, group{"reopen", reopenFacts}, group{"watch reopen", watchReopenFacts})
	}
	return groups
}

// polls reports whether watches can be polled.
func polls(t *testing.T, b kv.Bucket) bool {
	t.Helper()
	w, err := b.Watch(t.Context(), nil, kv.Notify(func() {}))
	if err != nil {
		t.Fatal(err)
	}
	_, ok := kv.As[kv.Poller](w)
	if err := w.Stop(); err != nil {
		t.Fatal(err)
	}
	return ok
}
