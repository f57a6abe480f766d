package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"kvd/backup"
	"kvd/bucket"
	"kvd/bucket/cut"
	"kvd/internal/descriptors"
	"kvd/kv"
	"kvd/server"
	"kvd/server/admin"
	"kvd/server/line"
	"kvd/server/nats"
)

// addServe makes the root command serve, and adds the verbs about serving.
func (a *app) addServe(root *cobra.Command) {
	serve := &cobra.Command{
		Use:   "serve",
		Short: "Start the server (the default without a verb)",
		Long: `Open the store in --data, recover it after a crash, and serve it until SIGTERM or
SIGINT. A second signal ends the process at once: no acknowledged write is lost,
and the next start needs a recovery. SIGHUP reads the users file, the certificate and
--config again: users, tls-cert, tls-key, log-level and shutdown-timeout change at
once, and the log names other settings that need a restart.

A setting is taken from its flag, from its environment variable, or from the file
that --config names, in this order. "kvd config show" prints all settings with
their origin.`,
		Example: `  kvd serve --data /var/lib/kvd --listen 127.0.0.1:5830
  kvd serve --config /etc/kvd.toml`,
		GroupID: groupServer,
		Args:    takes(0, 0),
	}
	for _, c := range []*cobra.Command{root, serve} {
		newSettings().addFlags(c)
		c.RunE = func(c *cobra.Command, _ []string) error {
			return a.serve(c.Context(), func() (*serveConfig, error) { return newSettings().config(c, a.lookupEnv) })
		}
	}
	root.AddCommand(serve, a.configCommand(), a.healthCommand())
}

// daemon is a running server: its store and what serves it.
type daemon struct {
	cfg      *serveConfig
	load     func() (*serveConfig, error) // the settings as they are now
	level    slog.LevelVar
	log      *slog.Logger
	manager  notifier
	security *security
	metrics  *admin.Metrics
	conns    *server.ConnLimit // of all listeners together
	store    *bucket.Store
	line     *server.Server // nil: off
	nats     *server.Server // nil: off
	front    *nats.Front    // nil: off
	admin    *admin.Server  // nil: off
	scraped  *admin.Server  // the listener of --metrics; nil: off
	dataDir  string

	stopSchedule func() // ends the backups; nil: there are none
	stopShipping func() // ends shipping; nil: there is none

	lineAddr, natsAddr, adminAddr, metricsAddr net.Addr // nil: off

	natsNote string     // why nats is off although it is not switched off
	failed   chan error // why a listener ended; has room for all
}

// serve runs a server until the context ends, which a signal does, or a listener
// fails.
func (a *app) serve(ctx context.Context, load func() (*serveConfig, error)) error {
	cfg, err := load()
	if err != nil {
		return err
	}
	d := &daemon{cfg: cfg, load: load, dataDir: cfg.data, failed: make(chan error, 4)}
	d.level.Set(cfg.level)
	d.log = a.newLogger(cfg.format, &d.level)
	d.manager = notifier(a.env("NOTIFY_SOCKET", ""))
	limit := descriptors.Limit()
	if cfg.store.MaxFiles == 0 {
		cfg.store.MaxFiles = descriptors.Store(limit)
	}
	d.conns = server.NewConnLimit(descriptors.Beside(limit, cfg.store.MaxFiles))
	build := thisBuild()
	d.metrics = admin.NewMetrics(build.Version, build.Revision)
	d.metrics.SetSlow(cfg.slow, d.log)
	if d.security, err = newSecurity(cfg); err != nil {
		return err
	}
	d.countLogins()
	if err := bucket.CheckUnlocked(cfg.data); err != nil { // before a port in use, which follows from it
		return err
	}
	if err := d.startAdmin(); err != nil {
		return errors.Join(err, d.stop())
	}
	if err := d.openStore(a.newProgress(d.log)); err != nil {
		return errors.Join(err, d.stop())
	}
	d.warnExposed()
	store := d.metrics.Observe(d.store)
	if err := d.startLine(backup.Of(store, d.store, d.backedUp), build.Version); err != nil {
		return errors.Join(err, d.stop())
	}
	if err := d.startNATS(store, build.Version); err != nil {
		return errors.Join(err, d.stop())
	}
	if err := errors.Join(d.startSchedule(), d.startShipping()); err != nil {
		return errors.Join(err, d.stop())
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	d.announce(a)
	err = d.wait(ctx, hangups)
	return errors.Join(err, d.stop())
}

// startAdmin serves health before the store is opened, so that a long recovery can be
// observed.
func (d *daemon) startAdmin() (err error) {
	if d.cfg.admin != "" {
		opts := d.healthOptions(d.cfg.admin)
		opts.Insecure, opts.Pprof, opts.Hosts, opts.Operator = d.cfg.insecure, d.cfg.pprof, d.cfg.adminHosts, d.operator()
		if d.admin, d.adminAddr, err = d.serveHTTP(opts); err != nil {
			return err
		}
	}
	if d.cfg.metrics != "" {
		opts := d.healthOptions(d.cfg.metrics)
		opts.Insecure, opts.AnyHost = true, true // it shows names of buckets and figures alone
		if d.scraped, d.metricsAddr, err = d.serveHTTP(opts); err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
	}
	return nil
}

// healthOptions returns the options of a listener that serves health and metrics.
func (d *daemon) healthOptions(addr string) admin.Options {
	return admin.Options{
		Addr: addr, Together: d.conns, Metrics: d.metrics, Logger: d.log,
		Health:  func(ctx context.Context) error { return admin.FirstFault(ctx, d.store) },
		Ready:   func(ctx context.Context) error { return admin.FirstInDoubt(ctx, d.store) },
		Remarks: func() []string { return clockRemarks(d.store.Clock()) },
	}
}

// serveHTTP starts a listener for HTTP.
func (d *daemon) serveHTTP(opts admin.Options) (*admin.Server, net.Addr, error) {
	s := admin.New(opts)
	l, err := s.Listen()
	if err != nil {
		return nil, nil, err
	}
	d.run(func() error { return s.Serve(l) })
	return s, l.Addr(), nil
}

// overHTTP returns the servers that speak HTTP.
func (d *daemon) overHTTP() []*admin.Server {
	var on []*admin.Server
	for _, s := range []*admin.Server{d.admin, d.scraped} {
		if s != nil {
			on = append(on, s)
		}
	}
	return on
}

// countLogins adds the metrics of logins and of the certificate.
func (d *daemon) countLogins() {
	d.metrics.Logins(d.security.logins.Counts)
	if d.security.tls != nil {
		d.metrics.Certificate(d.security.expires)
	}
}

// run serves a listener in a goroutine, which ends with the listener. A failure goes to
// wait.
func (d *daemon) run(serve func() error) {
	go func() {
		if err := serve(); !errors.Is(err, server.ErrServerClosed) {
			d.failed <- err
		}
	}()
}

func (d *daemon) openStore(p *progress) error {
	opts := d.cfg.store
	opts.Logger = d.log
	opts.Observer = commitObserver{d.metrics}
	opts.Progress = func(b bucket.Progress) {
		p.show(string(b.Stage), b.Done, b.Total)
		// Systemd ends a start that takes too long, unless the start asks for more time.
		d.manager.notify("STATUS="+string(b.Stage), fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", (30*time.Second).Microseconds()))
	}
	store, err := bucket.Open(d.cfg.data, opts)
	p.clear()
	if err != nil {
		return err
	}
	d.store = store
	d.metrics.Describe(d.store)
	d.metrics.Files(store.Files)
	d.metrics.Space(d.space)
	d.metrics.Clock(func() time.Duration { return store.Clock().Leap }, func() time.Duration { return store.Clock().Suspended })
	return nil
}

// backedUp is called after a backup was sent.
func (d *daemon) backedUp(r cut.Report) {
	d.metrics.BackedUp(r.Content.Time)
	d.log.Info("backup sent", "buckets", len(r.Content.Buckets), "lsn", r.Content.LSN, "bytes", r.Bytes, "damage", r.Damage, "elapsed", r.Elapsed)
}

// clockRemarks returns what an operator should know of a store's clock.
func clockRemarks(c bucket.ClockState) []string {
	if c.Leap == 0 {
		return nil
	}
	return []string{"clock: " + leapText(c.Leap)}
}

// leapText says what a leap of the clock does, and how that ends.
func leapText(leap time.Duration) string {
	return fmt.Sprintf("it leapt by %v while the store was closed: what expired by that alone waits on the disk; if the clock is right, restart with --accept-clock", leap.Round(time.Second))
}

// commitObserver passes commits and compactions on to the metrics.
type commitObserver struct{ metrics *admin.Metrics }

func (o commitObserver) Committed(c bucket.Commit) {
	o.metrics.Committed(c.Records, c.Expired, c.Bytes, c.Sync)
}

// Compacted implements bucket.CompactionObserver.
func (o commitObserver) Compacted(c bucket.Compaction) {
	o.metrics.Compacted(admin.Compaction{Read: c.Read, Written: c.Written, Freed: c.Freed, Paused: c.Paused, Failed: c.Err != nil})
}

// Scrubbed implements bucket.ScrubObserver.
func (o commitObserver) Scrubbed(s bucket.Scrub) {
	o.metrics.Scrubbed(admin.Scrub{Done: s.Done, Total: s.Total, Passes: s.Passes, Damages: s.Damages})
}

func (d *daemon) startLine(store kv.Store, version string) error {
	if d.cfg.listen == "" {
		return nil
	}
	s, err := server.New(line.New(store, version), d.serverOptions(d.cfg.listen))
	if err != nil {
		return err
	}
	l, err := s.Listen()
	if err != nil {
		return err
	}
	d.line, d.lineAddr = s, l.Addr()
	d.metrics.Connections("line", s.Conns)
	d.metrics.Admissions("line", s.Counts)
	d.run(func() error { return s.Serve(l) })
	return nil
}

// startNATS serves NATS clients. If the default port is in use, perhaps by nats-server,
// the other protocols are served without it.
func (d *daemon) startNATS(store kv.Store, version string) error {
	if d.cfg.nats == "" {
		return nil
	}
	front, err := nats.New(store, nats.Options{
		Version: version, Logger: d.log, MaxPayload: int(d.cfg.natsMaxPayload), ConnMemory: d.cfg.natsConnMemory,
	})
	if err != nil {
		return err
	}
	s, err := server.New(front, d.serverOptions(d.cfg.nats))
	if err != nil {
		return err
	}
	l, err := s.Listen()
	if errors.Is(err, syscall.EADDRINUSE) && !d.cfg.natsAsked {
		d.natsNote = fmt.Sprintf("off: %s is in use, perhaps by nats-server; choose another address with --nats", d.cfg.nats)
		return nil
	}
	if err != nil {
		return err
	}
	d.nats, d.front, d.natsAddr = s, front, l.Addr()
	d.metrics.Connections("nats", s.Conns)
	d.metrics.Admissions("nats", s.Counts)
	d.run(func() error { return s.Serve(l) })
	return nil
}

// serverOptions returns the options that both protocols share.
func (d *daemon) serverOptions(addr string) server.Options {
	return server.Options{Addr: addr, Together: d.conns, TLS: d.security.tls, Logins: d.security.logins, Insecure: d.cfg.insecure, Logger: d.log}
}

// servers returns the servers of the protocols that are on.
func (d *daemon) servers() []*server.Server {
	var on []*server.Server
	for _, s := range []*server.Server{d.line, d.nats} {
		if s != nil {
			on = append(on, s)
		}
	}
	return on
}

// wait returns when the server must stop: nil after a signal, otherwise the error of a
// listener.
func (d *daemon) wait(ctx context.Context, hangups <-chan os.Signal) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-d.failed:
			return err
		case <-hangups:
			d.reload()
		}
	}
}

// stop ends what was started, in the opposite order: connections first, so that clients
// get the answers to their last requests.
func (d *daemon) stop() error {
	d.manager.notify("STOPPING=1")
	if d.store != nil {
		d.log.Info("stopping")
	}
	ctx, cancel := context.WithTimeout(context.Background(), d.cfg.shutdownTimeout)
	defer cancel()
	for _, s := range d.overHTTP() {
		s.SetReady(errStopping)
	}
	for _, s := range d.servers() {
		if err := s.Shutdown(ctx); err != nil {
			d.log.Warn("connections were closed before they finished", "cause", err)
		}
	}
	var err error
	if d.front != nil {
		err = d.front.Close(ctx)
	}
	if d.stopSchedule != nil {
		d.stopSchedule()
	}
	if d.stopShipping != nil {
		d.stopShipping()
	}
	if d.store != nil {
		closing := d.store.Close()
		if !errors.Is(closing, kv.ErrReadOnly) { // that was logged when it happened
			err = errors.Join(err, closing)
		}
	}
	for _, s := range d.overHTTP() {
		err = errors.Join(err, s.Shutdown(ctx))
	}
	if d.store != nil {
		d.log.Info("stopped")
	}
	return err
}

var errStopping = errors.New("stopping")

// announce prints or logs that the server is ready: its addresses, the recovery, and
// when writes are durable.
func (d *daemon) announce(a *app) {
	for _, s := range d.overHTTP() {
		s.SetReady(nil)
	}
	weaker, doubtful := d.remarks()
	d.manager.notify("READY=1", "STATUS=serving "+d.cfg.data)
	data := absolute(d.cfg.data)
	report := d.store.Report()
	warnings := d.warnings(&report, doubtful)
	if !a.isText(d.cfg.format) {
		log := d.log
		if len(weaker) > 0 {
			log = log.With("except", weaker)
		}
		log.Info("serving", "version", thisBuild().Version, "listen", addrText(d.lineAddr), "nats", d.natsText(), "admin", addrText(d.adminAddr),
			"metrics", addrText(d.metricsAddr), "data", data, "recovery", report.String(), "promise", promiseText)
		for _, w := range warnings {
			w.log(d.log)
		}
		return
	}
	fmt.Fprintf(a.err, "kvd %s\n", thisBuild().Version)
	lines := [][2]string{
		{"listen", addrText(d.lineAddr)},
		{"nats", d.natsText()},
		{"admin", addrText(d.adminAddr)},
		{"data", data},
		{"recovery", report.String()},
		{"promise", promiseText},
	}
	if d.metricsAddr != nil {
		lines = slices.Insert(lines, 3, [2]string{"metrics", d.metricsAddr.String()})
	}
	for _, l := range lines {
		fmt.Fprintf(a.err, "  %-9s %s\n", l[0], l[1])
	}
	for _, w := range weaker {
		fmt.Fprintf(a.err, "  %-9s %s\n", "except", w)
	}
	for _, w := range warnings {
		fmt.Fprintf(a.err, "  %-9s %s\n", w.label, w.text)
	}
}

// absolute returns the absolute path of a directory, or the path itself if the system does not
// tell where the process is.
func absolute(dir string) string {
	if path, err := filepath.Abs(dir); err == nil {
		return path
	}
	return dir
}

// promiseText says when a write is durable.
const promiseText = "every write is synced to disk before it is acknowledged"

// remarks describes the buckets whose configuration promises less, and those in doubt.
func (d *daemon) remarks() (weaker, doubtful []string) {
	for st, err := range d.store.Buckets(context.Background()) {
		if err != nil {
			break
		}
		if c := &st.Config; c.Storage == kv.MemoryStorage || c.Sync == kv.SyncInterval {
			weaker = append(weaker, fmt.Sprintf("bucket %s: %s", c.Bucket, promise(c)))
		}
		if st.Doubt != 0 {
			doubtful = append(doubtful, fmt.Sprintf("bucket %s: %s", st.Config.Bucket, doubtText(&st)))
		}
	}
	return weaker, doubtful
}

// natsText returns the address for NATS clients, or why there is none.
func (d *daemon) natsText() string {
	if d.natsNote != "" {
		return d.natsNote
	}
	return addrText(d.natsAddr)
}

// addrText returns an address, or "off".
func addrText(a net.Addr) string {
	if a == nil {
		return "off"
	}
	return a.String()
}
