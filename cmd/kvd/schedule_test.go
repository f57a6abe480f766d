package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"kvd/backup/blob/blobtest"
	"kvd/backup/repo"
	"kvd/bucket"
	"kvd/internal/environment"
	"kvd/internal/vfs"
	"kvd/kv"
	"kvd/server/admin"
)

// scheduled is a schedule in a bubble, with what it works on.
type scheduled struct {
	*schedule
	t     *testing.T
	place *blobtest.Memory
	log   sharedText
	stop  func()
}

// sharedText is what several goroutines write and read.
type sharedText struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *sharedText) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *sharedText) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// startScheduled starts backups of a store, one a day, and keeps a week.
func startScheduled(t *testing.T) *scheduled {
	store, err := bucket.Open("db", environment.With(bucket.Options{ReserveSize: -1}, environment.Env{FS: vfs.NewRAM(), Manual: true}))
	if err != nil {
		t.Fatal(err)
	}
	b, err := store.CreateBucket(t.Context(), kv.Config{Bucket: "b"})
	if err == nil {
		_, err = b.PutString(t.Context(), "k", "v")
	}
	if err != nil {
		t.Fatal(err)
	}
	s := &scheduled{t: t, place: blobtest.NewMemory()}
	s.place.Advance(time.Until(time.Unix(1_800_000_000, 0)) * -1) // to the clock of the bubble
	s.schedule = &schedule{
		place: s.place, store: store, every: 24 * time.Hour, keep: 7 * 24 * time.Hour,
		log: slog.New(slog.NewTextHandler(&s.log, nil)), metrics: admin.NewMetrics("", ""),
	}
	s.start()
	t.Cleanup(func() {
		s.stop()
		store.Close()
	})
	return s
}

func (s *scheduled) start() {
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.run(ctx)
	}()
	s.stop = func() {
		cancel()
		<-done
	}
}

// pass lets time pass, for the schedule and for the place.
func (s *scheduled) pass(d time.Duration) {
	<-time.After(d) // of the bubble
	s.place.Advance(d)
	synctest.Wait()
}

// points returns how many verified backups there are.
func (s *scheduled) points() (n int) {
	s.t.Helper()
	r, err := repo.Open(s.t.Context(), s.place)
	if errors.Is(err, repo.ErrNoRepo) {
		return 0
	}
	if err != nil {
		s.t.Fatal(err)
	}
	all, broken, err := r.Points(s.t.Context())
	if err != nil || len(broken) > 0 {
		s.t.Fatal(broken, err)
	}
	for _, p := range all {
		if p.Verified {
			n++
		}
	}
	return n
}

func (s *scheduled) want(points int) {
	s.t.Helper()
	if got := s.points(); got != points {
		s.t.Errorf("there are %d backups, want %d\n%s", got, points, s.log.String())
	}
}

// The first backup is made at once, then one a day, and those that are too old are removed. A restart
// moves none.
func TestScheduledBackups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startScheduled(t)
		synctest.Wait()
		s.want(1)
		s.pass(23 * time.Hour)
		s.want(1)
		s.stop()
		s.start()
		s.pass(59 * time.Minute)
		s.want(1)
		s.pass(2 * time.Minute)
		s.want(2)
		for range 20 {
			s.pass(24 * time.Hour)
		}
		s.want(8)
		if !strings.Contains(s.log.String(), "old backups removed") {
			t.Error(s.log.String())
		}
	})
}

// After a failure the next attempt is soon, and not ever sooner.
func TestScheduledBackupsAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := startScheduled(t)
		synctest.Wait()
		s.stop()
		var works atomic.Bool
		s.schedule.place = &blobtest.Fault{Store: s.place, Fail: func(int, string, string) blobtest.Outcome {
			if works.Load() {
				return blobtest.Works
			}
			return blobtest.Refuse
		}}
		s.start()
		s.pass(31 * time.Minute) // at 0, 1, 3, 7, 15 and 31 minutes
		if n := strings.Count(s.log.String(), "backup failed"); n != 6 {
			t.Errorf("%d attempts\n%s", n, s.log.String())
		}
		works.Store(true)
		s.pass(33 * time.Minute)
		s.want(2)
	})
}
