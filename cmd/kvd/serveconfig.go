package main

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvd/bucket"
	"kvd/kv"
	"kvd/server"
	"kvd/server/admin"
)

// serveConfig is the configuration of a server.
type serveConfig struct {
	data            string
	listen          string // empty: off
	nats            string // empty: off
	natsAsked       bool   // nats was set: a port in use is an error
	natsMaxPayload  int64  // bytes, 1 to 64 MiB
	natsConnMemory  int64  // bytes
	admin           string // empty: off
	adminHosts      []string
	metrics         string        // empty: off
	slow            time.Duration // threshold of the slow log; 0: off
	users           string        // empty: none
	cert, key       string        // empty: no TLS
	clientCA        string
	insecure        bool
	backup          string // repository; empty: none
	backupEvery     time.Duration
	backupKeep      time.Duration
	backupRate      int64  // bytes a second; 0: no bound
	ship            string // repository; empty: none
	shipInterval    time.Duration
	shipBase        time.Duration
	shipKeep        time.Duration
	s3Endpoint      string
	pprof           bool
	level           slog.Level
	format          logFormat
	shutdownTimeout time.Duration
	store           bucket.Options

	values  map[string]string // of all settings, by name
	origins []admin.Setting   // all settings, in the order in which they are shown
}

// config loads the settings and checks them as far as that needs no other file.
func (ss settings) config(c *cobra.Command, lookupEnv func(string) (string, bool)) (*serveConfig, error) {
	if err := ss.load(c, lookupEnv); err != nil {
		return nil, err
	}
	r := &reader{settings: ss}
	insecure := read(r, "insecure", parseBool)
	cfg := &serveConfig{
		data: r.text("data"), listen: read(r, "listen", parseAddr), admin: read(r, "admin", parseAddr),
		adminHosts: read(r, "admin-host", parseHosts), metrics: read(r, "metrics", parseAddr), slow: read(r, "slow", parseAge),
		nats: read(r, "nats", parseAddr), natsAsked: r.find("nats").origin != originDefault,
		natsMaxPayload: read(r, "nats-max-payload", parseSize), natsConnMemory: read(r, "nats-conn-memory", parseSize),
		users: r.text("users"), cert: r.text("tls-cert"), key: r.text("tls-key"), clientCA: r.text("tls-client-ca"),
		insecure:        insecure,
		backup:          read(r, "backup", checkPlace),
		backupEvery:     read(r, "backup-every", parsePositive),
		backupKeep:      read(r, "backup-keep", parsePositive),
		backupRate:      read(r, "backup-rate", parseSize),
		ship:            read(r, "ship", checkPlace),
		shipInterval:    read(r, "ship-interval", parsePositive),
		shipBase:        read(r, "ship-base", parsePositive),
		shipKeep:        read(r, "ship-keep", parsePositive),
		s3Endpoint:      read(r, "s3-endpoint", parseEndpoint(insecure)),
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
	if cfg.backup != "" && cfg.ship != "" {
		r.errs = append(r.errs, errors.New("backup and ship are both set: ship makes backups too, so set one of them"))
	}
	if cfg.slow < 0 {
		r.errs = append(r.errs, errors.New("slow must be a duration, or 0 for no slow log"))
	}
	if cfg.natsMaxPayload < 1 || cfg.natsMaxPayload > kv.MaxValueSizeLimit {
		r.errs = append(r.errs, errors.New("nats-max-payload must be 1 to 64MiB"))
	}
	if cfg.natsConnMemory < 1 {
		r.errs = append(r.errs, errors.New("nats-conn-memory must be at least 1"))
	}
	if cfg.listen == "" && cfg.nats == "" && cfg.admin == "" {
		r.errs = append(r.errs, errors.New("listen, nats and admin are all off: nothing to serve"))
	}
	r.errs = append(r.errs, checkSamePort(r)...)
	if err := errors.Join(r.errs...); err != nil {
		return nil, usageOf(c, fmt.Errorf("configuration: %w", err))
	}
	cfg.values = make(map[string]string, len(ss))
	for _, s := range ss {
		cfg.values[s.name] = s.value
		cfg.origins = append(cfg.origins, admin.Setting{Name: s.name, Value: s.value, Origin: s.origin})
	}
	return cfg, cfg.checkExposed(r)
}

// parseAddr checks an address to listen on; empty is off.
func parseAddr(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	_, err := server.ResolveAddr(s)
	return s, err
}

// parseHosts reads names of the server, as the header Host of HTTP has them.
func parseHosts(s string) ([]string, error) {
	if s == "" {
		return nil, nil
	}
	names := strings.Split(strings.ToLower(s), ",")
	for _, name := range names {
		if name == "" || strings.ContainsAny(name, ":/ *") {
			return nil, fmt.Errorf("%q is not the name of a host, without a port", name)
		}
	}
	return names, nil
}

// addrSettings are the addresses to listen on.
var addrSettings = []string{"listen", "nats", "admin", "metrics"}

// checkSamePort returns an error for each two addresses that are the same.
func checkSamePort(r *reader) (errs []error) {
	seen := make(map[string]string)
	for _, name := range addrSettings {
		addr, err := server.ResolveAddr(r.text(name))
		if err != nil || addr.Port == 0 {
			continue
		}
		if other := seen[addr.String()]; other != "" {
			errs = append(errs, fmt.Errorf("%s and %s are both %s", other, name, addr))
		}
		seen[addr.String()] = name
	}
	return errs
}

// checkExposed returns an error matching server.ErrExposed for an address that others can
// reach, where nothing protects it. The admin address has no TLS. That of the metrics needs no
// protection: it shows names of buckets and figures alone.
func (cfg *serveConfig) checkExposed(r *reader) error {
	secured := cfg.users != "" && cfg.cert != ""
	for _, name := range addrSettings {
		s := r.find(name)
		if s.value == "" || name == "metrics" {
			continue
		}
		addr, err := server.ResolveAddr(s.value)
		if err == nil {
			err = server.CheckExposed(addr, cfg.insecure || secured && name != "admin")
		}
		if err != nil {
			return fmt.Errorf("configuration: %s, from %s: %w", name, s.origin, err)
		}
	}
	return nil
}

// storeOptions returns the settings of the store itself.
func storeOptions(r *reader) bucket.Options {
	o := bucket.Options{
		LogFileSize: read(r, "wal-file-size", parseSize),
		LogMaxSize:  read(r, "wal-max-size", parseSize),
		ReserveSize: read(r, "reserve-size", parseSize),
		MaxFiles:    read(r, "max-files", parseFiles),
		AcceptClock: read(r, "accept-clock", parseBool),
		ServeStale:  read(r, "serve-stale", parseBuckets),
		Scrub:       read(r, "scrub", parseScrub),
	}
	if o.ReserveSize == 0 {
		o.ReserveSize = -1 // in bucket.Options 0 is the default
	}
	if len(r.errs) == 0 {
		r.errs = append(r.errs, checkLogSizes(r, &o), o.Validate())
	}
	return o
}

// checkLogSizes checks the sizes of the log by the names that they have as settings.
func checkLogSizes(r *reader, o *bucket.Options) error {
	if o.LogMaxSize >= 2*o.LogFileSize {
		return nil
	}
	s := r.find("wal-max-size")
	o.LogMaxSize = 0 // or Validate says it again
	return fmt.Errorf("wal-max-size, from %s: %s is less than two files of %s (wal-file-size)", s.origin, s.value, r.text("wal-file-size"))
}

// dirOptions returns the options for a verb that opens a directory itself. They come
// from the environment.
func (a *app) dirOptions() (bucket.Options, error) {
	r := &reader{settings: newSettings()}
	for _, s := range r.settings {
		s.resolve(settingsFile{}, a.lookupEnv)
	}
	o := storeOptions(r)
	o.Scrub = 0 // a command is over too soon
	return o, errors.Join(r.errs...)
}
