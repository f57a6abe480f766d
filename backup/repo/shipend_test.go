package repo

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kvd/backup"
	"kvd/backup/blob"
	"kvd/backup/blob/blobtest"
	"kvd/bucket"
)

// slow is a place whose puts of the log wait for the end of their context while it is held.
type slow struct {
	blob.Store
	held    chan bool     // holds whether they wait
	waiting chan struct{} // gets a token for each put that waits
}

func (s *slow) Put(ctx context.Context, name string, data []byte) error {
	held := <-s.held
	s.held <- held
	if held && strings.Contains(name, "/log/") {
		s.waiting <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	}
	return s.Store.Put(ctx, name, data)
}

// running is a shipper that runs, in a bubble.
type running struct {
	*watched
	cancel context.CancelFunc
	ended  chan error
}

func run(t *testing.T, s *source, place blob.Store) *running {
	t.Helper()
	w := &watched{bases: make(chan struct{}, 100), gaps: make(chan struct{}, 100), failed: make(chan struct{}, 10_000)}
	shipper, err := NewShipper(place, s.Store, ShipOptions{Observer: w})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{w, cancel, make(chan error, 1)}
	go func() { r.ended <- shipper.Run(ctx) }()
	return r
}

// inBubble returns a place whose clock is that of a bubble.
func inBubble() *blobtest.Memory {
	place := blobtest.NewMemory()
	place.Advance(-time.Until(time.Unix(1_800_000_000, 0)))
	return place
}

// A shipper that is ended while it puts frames puts these and those behind them.
func TestAShipperPutsEverythingAtItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		place, s := inBubble(), newSource(t)
		through := &slow{place, make(chan bool, 1), make(chan struct{}, 10)}
		through.held <- false
		r := run(t, s, through)
		<-r.bases
		synctest.Wait() // it has pruned
		<-through.held
		through.held <- true
		s.put("k", "1")
		<-through.waiting
		s.put("k", "2")
		<-through.held
		through.held <- false
		r.cancel()
		if err := <-r.ended; err != nil {
			t.Error(err)
		}
		store, _, err := recovered(t, place, Target{}, backup.RestoreOptions{})
		if err != nil || content(t, store)["k"] != "2" {
			t.Error(err)
		}
	})
}

// A shipper that makes a base after a later one began ends, and the later one goes on.
func TestABaseDoesNotEndALaterShipper(t *testing.T) {
	place, source := blobtest.NewMemory(), newSource(t)
	first := ship(t, source, place)
	first.base()
	first.tail.Close()
	second := ship(t, source, place)
	if _, err := writeAs(t.Context(), place, source, bucket.BackupOptions{}, &first.run.bases); !errors.Is(err, errFenced) {
		t.Error("a base of the earlier one:", err)
	}
	if _, err := begin(t, first.run.Shipper, second.tail); !errors.Is(err, errFenced) {
		t.Error("another run of the earlier one:", err)
	}
	second.put("k", "2")
	second.flush()
	second.base()
}

// A backup that somebody makes in the repository of a shipper interrupts it, and does not end it.
func TestABackupBesideAShipper(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		place, s := inBubble(), newSource(t)
		r := run(t, s, place)
		<-r.bases
		synctest.Wait() // it has pruned
		s.put("k", "1")
		s.write(place)
		s.put("k", "2")
		<-r.bases // of another run
		s.put("k", "3")
		<-time.After(2 * time.Second)
		synctest.Wait()
		select {
		case err := <-r.ended:
			t.Fatal("it ended:", err)
		default:
		}
		store, _, err := recovered(t, place, Target{}, backup.RestoreOptions{})
		if err != nil || content(t, store)["k"] != "3" {
			t.Error(err)
		}
		r.cancel()
		if err := <-r.ended; err != nil {
			t.Error(err)
		}
	})
}

// A shipper that makes a base ends for good if a later one has begun meanwhile.
func TestAnIdleShipperFindsALaterOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		place, s := inBubble(), newSource(t)
		r := run(t, s, place)
		<-r.bases
		synctest.Wait() // it has pruned
		repo := openRepo(t, place)
		if _, err := repo.claim(t.Context(), Instant{1 << 40, time.Now()}, &claimant{token: random(), ships: true}); err != nil {
			t.Fatal(err)
		}
		select {
		case err := <-r.ended: // with its next base
			if !errors.Is(err, ErrRepoTaken) {
				t.Error(err)
			}
		case <-time.After(25 * time.Hour):
			t.Error("it goes on")
			r.cancel()
		}
	})
}
