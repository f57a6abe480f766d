package main

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"kvd/bucket"
)

// serveConfig is the configuration of a server.
type serveConfig struct {
	data            string
	listen          string // empty: off
	nats            string // empty: off
	natsAsked       bool   // nats was set: a port in use is an error
	admin           string // empty: off
	users           string // empty: none
	cert, key       string // empty: no TLS
	clientCA        string
	insecure        bool
	pprof           bool
	level           slog.Level
	format          logFormat
	shutdownTimeout time.Duration
	store           bucket.Options
}

// config loads the settings and checks them. It opens no file that they name.
func (ss settings) config(c *cobra.Command, lookupEnv func(string) (string, bool)) (*serveConfig, error) {
	if err := ss.load(c, lookupEnv); err != nil {
		return nil, err
	}
	r := &reader{settings: ss}
	cfg := &serveConfig{
		data: r.text("data"), listen: r.text("listen"), admin: r.text("admin"),
		nats: r.text("nats"), natsAsked: r.find("nats").origin != originDefault,
		users: r.text("users"), cert: r.text("tls-cert"), key: r.text("tls-key"), clientCA: r.text("tls-client-ca"),
		insecure:        read(r, "insecure", parseBool),
		pprof:           read(r, "pprof", parseBool),
		level:           read(r, "log-level", parseLevel),
		format:          read(r, "log-format", parseFormat),
		shutdownTimeout: read(r, "shutdown-timeout", parsePositive),
	}
	cfg.store = storeOptions(r)
	if cfg.data == "" {
		r.errs = append(r.errs, errors.New("data is empty: must be a directory"))
	}
	if (cfg.cert == "") != (cfg.key == "") {
		r.errs = append(r.errs, errors.New("tls-cert and tls-key must be set together"))
	}
	if cfg.clientCA != "" && cfg.cert == "" {
		r.errs = append(r.errs, errors.New("tls-client-ca needs tls-cert"))
	}
	if cfg.listen == "" && cfg.nats == "" && cfg.admin == "" {
		r.errs = append(r.errs, errors.New("listen, nats and admin are all off: nothing to serve"))
	}
	if err := errors.Join(r.errs...); err != nil {
		return nil, usageOf(c, fmt.Errorf("configuration: %w", err))
	}
	return cfg, nil
}

// storeOptions returns the settings of the store itself.
func storeOptions(r *reader) bucket.Options {
	o := bucket.Options{
		LogFileSize: read(r, "wal-file-size", parseSize),
		LogMaxSize:  read(r, "wal-max-size", parseSize),
		ReserveSize: read(r, "reserve-size", parseSize),
		AcceptClock: read(r, "accept-clock", parseBool),
		ServeStale:  read(r, "serve-stale", parseBuckets),
	}
	if o.ReserveSize == 0 {
		o.ReserveSize = -1 // in bucket.Options 0 is the default
	}
	return o
}

// dirOptions returns the options for a verb that opens a directory itself. They come
// from the environment.
func (a *app) dirOptions() (bucket.Options, error) {
	r := &reader{settings: newSettings()}
	for _, s := range r.settings {
		s.resolve(settingsFile{}, a.lookupEnv)
	}
	o := storeOptions(r)
	return o, errors.Join(r.errs...)
}
