package main

import (
	"context"
	"log/slog"
	"time"

	"kvd/backup"
	"kvd/backup/blob"
	"kvd/backup/repo"
	"kvd/bucket"
	"kvd/server/admin"
)

// schedule makes backups of a store in a repository at regular times, and removes old ones.
type schedule struct {
	place   blob.Store
	store   scheduledStore
	every   time.Duration
	keep    time.Duration
	rate    int64 // bytes of the store a second; 0: there is no bound
	log     *slog.Logger
	metrics *admin.Metrics
}

// scheduledStore is a *bucket.Store.
type scheduledStore interface {
	backup.Source
	ID() [16]byte
}

// scheduleRetry is the first wait after a failure; every further one is twice as long, up to an hour and up
// to the time between backups.
const (
	scheduleRetry    = time.Minute
	scheduleRetryMax = time.Hour
)

// run makes backups until the context ends. The daemon starts it in a goroutine and waits for it.
func (s *schedule) run(ctx context.Context) {
	wait := s.first(ctx)
	retry := scheduleRetry
	for {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		err := s.backUp(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			wait, retry = s.every, scheduleRetry
		default:
			wait = min(retry, s.every)
			retry = min(2*retry, scheduleRetryMax)
			s.metrics.BackupFailed()
			s.log.Error("backup failed", "repository", s.place.String(), "cause", err, "again", wait.String())
		}
	}
}

// first returns how long after its start the server makes its first backup: a restart moves none.
func (s *schedule) first(ctx context.Context) time.Duration {
	r, err := repo.Open(ctx, s.place)
	if err != nil || r.StoreID() != s.store.ID() {
		return 0 // there is no repository yet, or the backup says what is wrong
	}
	points, _, err := r.Points(ctx)
	if err != nil {
		return 0
	}
	newest, _ := repo.Nearest(points, repo.Target{})
	if newest == nil {
		return 0
	}
	s.metrics.BackedUp(newest.Time)
	return min(s.every, max(0, time.Until(newest.Put.Add(s.every))))
}

// backUp makes one backup, and removes what is older than it has to be.
func (s *schedule) backUp(ctx context.Context) error {
	began := time.Now()
	w, err := repo.Write(ctx, s.place, s.store, bucket.BackupOptions{Rate: s.rate})
	if err != nil {
		return err
	}
	s.metrics.BackedUp(w.Content.Time)
	s.metrics.BackupUploaded(w.NewBytes)
	s.log.Info("backup made", "repository", s.place.String(), "lsn", uint64(w.Content.LSN), "time", w.Content.Time,
		"uploaded_bytes", w.NewBytes, "bytes", w.Bytes, "took", time.Since(began).Round(time.Millisecond).String())
	if w.Damage > 0 {
		s.log.Error("the backup has damage that the store has", "places", w.Damage, "first", w.Damages[0].Error())
	}
	r, err := repo.Open(ctx, s.place)
	if err != nil {
		return err
	}
	removed, err := r.Prune(ctx, s.keep)
	logPruned(s.log.With("repository", s.place.String()), removed, err)
	return nil
}

// startSchedule begins to make backups, if the configuration asks for them.
func (d *daemon) startSchedule() error {
	if d.cfg.backup == "" {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	place, closePlace, err := openPlace(ctx, d.cfg.backup, placeOptions{d.cfg.s3Endpoint, d.cfg.insecure})
	if err != nil {
		cancel()
		return err
	}
	s := &schedule{
		place: place, store: d.store, every: d.cfg.backupEvery, keep: d.cfg.backupKeep, rate: d.cfg.backupRate, log: d.log, metrics: d.metrics,
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.run(ctx)
	}()
	d.stopSchedule = func() {
		cancel()
		<-done
		closePlace()
	}
	return nil
}
