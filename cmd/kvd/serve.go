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
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"kvd/bucket"
	"kvd/kv"
	"kvd/server"
	"kvd/server/admin"
	"kvd/server/line"
	"kvd/server/nats"
)

// addServe makes the root command serve, and adds the verbs about that.
func (a *app) addServe(root *cobra.Command) {
	serve := &cobra.Command{
		Use:   "serve",
		Short: "Serve a directory: what kvd does without a verb",
		Long: `Open the store in --data, recover what a crash left, and serve it until SIGTERM or
SIGINT. A second signal ends the process at once, which costs the next start a
recovery and no acknowledged write. SIGHUP reads users and certificate again.

Every setting can be a flag, a variable of the environment or a line of the file
that --config names, in this order; "kvd config show" tells which it is.`,
		Example: `  kvd serve --data /var/lib/kvd --listen 127.0.0.1:5830
  kvd serve --config /etc/kvd.toml`,
		GroupID: groupServer,
		Args:    takes(0, 0),
	}
	for _, c := range []*cobra.Command{root, serve} {
		ss := newSettings()
		ss.addFlags(c)
		c.RunE = func(c *cobra.Command, _ []string) error {
			cfg, err := ss.config(c, a.lookupEnv)
			if err != nil {
				return err
			}
			return a.serve(c.Context(), cfg)
		}
	}
	root.AddCommand(serve, a.configCommand(), a.healthCommand())
}

// daemon is a running server: its store and what serves it.
type daemon struct {
	cfg      *serveConfig
	log      *slog.Logger
	manager  notifier
	security *security
	metrics  *admin.Metrics
	store    *bucket.Store
	line     *server.Server // nil: off
	nats     *server.Server // nil: off
	front    *nats.Front    // nil: off
	admin    *admin.Server  // nil: off

	lineAddr, natsAddr, adminAddr net.Addr   // nil: off
	natsNote                      string     // why nats is off, unless somebody wanted that
	failed                        chan error // why a listener ended; has room for all
}

// serve runs a server until the context ends, which a signal does, or a listener
// fails.
func (a *app) serve(ctx context.Context, cfg *serveConfig) error {
	d := &daemon{cfg: cfg, log: a.newLogger(cfg.format, cfg.level), failed: make(chan error, 3)}
	d.manager = notifier(a.env("NOTIFY_SOCKET", ""))
	build := thisBuild()
	d.metrics = admin.NewMetrics(build.Version, build.Revision)
	var err error
	if d.security, err = newSecurity(cfg); err != nil {
		return err
	}
	if err := d.startAdmin(); err != nil {
		return err
	}
	if err := d.openStore(a.newProgress(d.log)); err != nil {
		return errors.Join(err, d.stop())
	}
	store := d.metrics.Observe(d.store)
	if err := d.startLine(store, build.Version); err != nil {
		return errors.Join(err, d.stop())
	}
	if err := d.startNATS(store, build.Version); err != nil {
		return errors.Join(err, d.stop())
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	d.announce(a)
	err = d.wait(ctx, hangups)
	return errors.Join(err, d.stop())
}

// startAdmin answers health from the first moment on, so that a long recovery is
// seen to be one.
func (d *daemon) startAdmin() error {
	if d.cfg.admin == "" {
		return nil
	}
	s := admin.New(admin.Options{
		Addr: d.cfg.admin, Insecure: d.cfg.insecure, Metrics: d.metrics, Pprof: d.cfg.pprof,
		Health: func(ctx context.Context) error { return admin.FirstUnwritable(ctx, d.store) }, Logger: d.log,
	})
	l, err := s.Listen()
	if err != nil {
		return err
	}
	d.admin, d.adminAddr = s, l.Addr()
	d.run(func() error { return s.Serve(l) })
	return nil
}

// run serves a listener in a goroutine, which ends with the listener; wait hears
// of a failure.
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
		// Systemd gives up on a start that takes long, unless it hears from it.
		d.manager.notify("STATUS="+string(b.Stage), fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", (30*time.Second).Microseconds()))
	}
	store, err := bucket.Open(d.cfg.data, opts)
	p.clear()
	if err != nil {
		return err
	}
	d.store = store
	d.metrics.Describe(d.store)
	return nil
}

// commitObserver has the metrics see what the commit path does.
type commitObserver struct{ metrics *admin.Metrics }

func (o commitObserver) Committed(c bucket.Commit) {
	o.metrics.Committed(c.Records, c.Expired, c.Bytes, c.Sync)
}

// Compacted implements bucket.CompactionObserver.
func (o commitObserver) Compacted(c bucket.Compaction) {
	o.metrics.Compacted(admin.Compaction{Read: c.Read, Written: c.Written, Freed: c.Freed, Paused: c.Paused, Failed: c.Err != nil})
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
	d.run(func() error { return s.Serve(l) })
	return nil
}

// startNATS serves NATS' clients. A port that is taken although nobody asked for it is
// no reason not to serve the rest: a nats-server may well be there.
func (d *daemon) startNATS(store kv.Store, version string) error {
	if d.cfg.nats == "" {
		return nil
	}
	front, err := nats.New(store, nats.Options{Version: version})
	if err != nil {
		return err
	}
	s, err := server.New(front, d.serverOptions(d.cfg.nats))
	if err != nil {
		return err
	}
	l, err := s.Listen()
	if errors.Is(err, syscall.EADDRINUSE) && !d.cfg.natsAsked {
		d.natsNote = fmt.Sprintf("off: %s is in use, by nats-server perhaps; --nats names another address", d.cfg.nats)
		return nil
	}
	if err != nil {
		return err
	}
	d.nats, d.front, d.natsAddr = s, front, l.Addr()
	d.metrics.Connections("nats", s.Conns)
	d.run(func() error { return s.Serve(l) })
	return nil
}

// serverOptions are those of both protocols.
func (d *daemon) serverOptions(addr string) server.Options {
	return server.Options{Addr: addr, TLS: d.security.tls, Users: d.security.users, Insecure: d.cfg.insecure, Logger: d.log}
}

// servers are those of clients that are on.
func (d *daemon) servers() []*server.Server {
	var on []*server.Server
	for _, s := range []*server.Server{d.line, d.nats} {
		if s != nil {
			on = append(on, s)
		}
	}
	return on
}

// wait returns when the server is to stop: nil if that was asked for.
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

// reload reads users and certificate again.
func (d *daemon) reload() {
	d.manager.notify("RELOADING=1")
	defer d.manager.notify("READY=1")
	if err := d.security.reload(d.servers()); err != nil {
		d.log.Error("reload: what could not be read stays as it was", "cause", err)
		return
	}
	d.log.Info("users and certificate read again")
}

// stop ends what was started, in the opposite order: clients first, so that the
// store's last words are theirs too.
func (d *daemon) stop() error {
	d.manager.notify("STOPPING=1")
	if d.store != nil {
		d.log.Info("stopping")
	}
	ctx, cancel := context.WithTimeout(context.Background(), d.cfg.shutdownTimeout)
	defer cancel()
	if d.admin != nil {
		d.admin.SetReady(errStopping)
	}
	for _, s := range d.servers() {
		if err := s.Shutdown(ctx); err != nil {
			d.log.Warn("connections were cut off", "cause", err)
		}
	}
	var err error
	if d.front != nil {
		err = d.front.Close(ctx)
	}
	if d.store != nil {
		closing := d.store.Close()
		if !errors.Is(closing, kv.ErrReadOnly) { // it was so before, and everybody was told
			err = errors.Join(err, closing)
		}
	}
	if d.admin != nil {
		err = errors.Join(err, d.admin.Shutdown(ctx))
	}
	if d.store != nil {
		d.log.Info("stopped")
	}
	return err
}

var errStopping = errors.New("stopping")

// announce says that clients are served: where, what recovery found, and what
// they are promised.
func (d *daemon) announce(a *app) {
	if d.admin != nil {
		d.admin.SetReady(nil)
	}
	weaker := d.weakerBuckets()
	d.manager.notify("READY=1", "STATUS=serving "+d.cfg.data)
	data, err := filepath.Abs(d.cfg.data)
	if err != nil {
		data = d.cfg.data
	}
	report := d.store.Report()
	if !a.isText(d.cfg.format) {
		log := d.log
		if len(weaker) > 0 {
			log = log.With("except", weaker)
		}
		log.Info("serving", "version", thisBuild().Version, "listen", addrText(d.lineAddr), "nats", d.natsText(), "admin", addrText(d.adminAddr),
			"data", data, "recovery", report.String(), "promise", promiseText)
		return
	}
	fmt.Fprintf(a.err, "kvd %s\n", thisBuild().Version)
	for _, l := range [][2]string{
		{"listen", addrText(d.lineAddr)},
		{"nats", d.natsText()},
		{"admin", addrText(d.adminAddr)},
		{"data", data},
		{"recovery", report.String()},
		{"promise", promiseText},
	} {
		fmt.Fprintf(a.err, "  %-9s %s\n", l[0], l[1])
	}
	for _, w := range weaker {
		fmt.Fprintf(a.err, "  %-9s %s\n", "except", w)
	}
	if d.cfg.insecure {
		fmt.Fprintf(a.err, "  %-9s %s\n", "WARNING", "--insecure: whoever reaches these addresses may be able to do anything")
	}
	for _, n := range append(report.Notes, report.Strays...) {
		fmt.Fprintf(a.err, "  %-9s %s\n", "note", n)
	}
}

// promiseText is what distinguishes kvd, in a line.
const promiseText = "every write is on the disk before it is acknowledged"

// weakerBuckets names the buckets whose owners wanted less.
func (d *daemon) weakerBuckets() []string {
	var weaker []string
	for st, err := range d.store.Buckets(context.Background()) {
		if err != nil {
			break
		}
		if c := &st.Config; c.Storage == kv.MemoryStorage || c.Sync == kv.SyncInterval {
			weaker = append(weaker, fmt.Sprintf("bucket %s: %s", c.Bucket, promise(c)))
		}
	}
	return weaker
}

// natsText is where NATS' clients are served, or why they are not.
func (d *daemon) natsText() string {
	if d.natsNote != "" {
		return d.natsNote
	}
	return addrText(d.natsAddr)
}

// addrText is an address, or that there is none.
func addrText(a net.Addr) string {
	if a == nil {
		return "off"
	}
	return a.String()
}
