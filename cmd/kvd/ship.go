package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"kvd/backup/repo"
	"kvd/server/admin"
	"kvd/wal"
)

// startShipping begins to copy the log to a repository, if the configuration asks for it.
func (d *daemon) startShipping() error {
	if d.cfg.ship == "" {
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	place, closePlace, err := openPlace(ctx, d.cfg.ship, placeOptions{d.cfg.s3Endpoint, d.cfg.insecure})
	if err != nil {
		cancel()
		return err
	}
	s, err := repo.NewShipper(place, d.store, repo.ShipOptions{
		Interval: d.cfg.shipInterval, Base: d.cfg.shipBase, Keep: d.cfg.shipKeep, Rate: d.cfg.backupRate,
		Observer: &shipLog{d.log.With("repository", place.String()), d.metrics},
	})
	if err != nil {
		cancel()
		closePlace()
		return err
	}
	d.metrics.Ship(s.Lag)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Run(ctx); err != nil {
			d.metrics.ShipFailed()
			d.log.Error("shipping has ended for good: restart the server that is to ship", "repository", place.String(), "cause", err)
		}
	}()
	d.stopShipping = func() {
		cancel()
		<-done
		closePlace()
	}
	return nil
}

// shipLog logs what a shipper does.
type shipLog struct {
	log     *slog.Logger
	metrics *admin.Metrics
}

func (l *shipLog) Shipped(first, last wal.LSN, bytes int64) {
	l.metrics.BackupUploaded(bytes)
	l.log.Debug("log shipped", "first", uint64(first), "last", uint64(last), "bytes", bytes)
}

func (l *shipLog) BaseMade(w repo.Written) {
	l.metrics.BackedUp(w.Content.Time)
	l.metrics.BackupUploaded(w.NewBytes)
	l.log.Info("backup made", "lsn", uint64(w.Content.LSN), "time", w.Content.Time, "uploaded_bytes", w.NewBytes, "bytes", w.Bytes,
		"took", w.Elapsed.Round(time.Millisecond).String())
	if w.Damage > 0 {
		l.log.Error("the backup has damage that the store has", "places", w.Damage, "first", w.Damages[0].Error())
	}
}

func (l *shipLog) Pruned(p repo.Pruned, err error) {
	logPruned(l.log, p, err)
}

func (l *shipLog) GaveUp(last repo.Instant) {
	l.log.Error("the repository was away for too long: what was written since cannot be restored until the next backup is made", "lsn", uint64(last.LSN), "time", last.Time)
}

func (l *shipLog) Failed(what string, err error, again time.Duration) {
	l.metrics.ShipFailed()
	l.log.Error(what+" failed", "cause", err, "again", again.String())
}

// logPruned logs what became of old backups.
func logPruned(log *slog.Logger, p repo.Pruned, err error) {
	switch {
	case errors.Is(err, repo.ErrBusy): // later
		log.Info("old backups stay for now", "cause", err)
	case err != nil:
		log.Error("old backups cannot be removed", "cause", err)
	case p.Bases+p.Logs > 0:
		log.Info("old backups removed", "backups", p.Bases, "log_objects", p.Logs, "bytes", p.Bytes)
	}
}
