package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kvd/bucket"
	"kvd/kv"
)

// target is the store that a verb works on.
type target struct {
	server  string
	dir     string
	timeout ageFlag
	login   login

	interrupted func(error) // a watch has lost its server, or goes on (nil); nil: not told
}

const (
	serverDefault  = "127.0.0.1:5830"
	timeoutDefault = 5 * time.Second
)

// addTarget gives a command the flags that say where its store is.
func (a *app) addTarget(c *cobra.Command) {
	t := &a.target
	f := c.Flags()
	f.StringVar(&t.server, "server", a.env("KVD_SERVER", serverDefault), "address or URL of the server (KVD_URL, KVD_SERVER)")
	f.StringVar(&t.dir, "dir", "", "work on this directory instead of a server")
	t.timeout = ageFlag(timeoutDefault)
	var bad error
	if v, ok := a.lookupEnv("KVD_TIMEOUT"); ok {
		if bad = t.timeout.Set(v); bad != nil {
			bad = fmt.Errorf("KVD_TIMEOUT: %w", bad)
			t.timeout = ageFlag(timeoutDefault)
		}
	}
	f.Var(&t.timeout, "timeout", "time to wait for the server (KVD_TIMEOUT)")
	_ = c.MarkFlagDirname("dir") // it exists
	t.login.addFlags(a, c)
	for _, name := range []string{"server", "dir", "timeout", "user", "password-file", "tls", "tls-ca", "tls-cert", "tls-key"} {
		_ = f.SetAnnotation(name, connectionFlag, []string{"true"}) // it exists
	}
	shortUsage(c)
	before := c.PreRunE
	c.PreRunE = func(c *cobra.Command, args []string) error {
		if bad == nil {
			bad = t.readURL(c, a.lookupEnv)
		}
		if bad != nil {
			return usageOf(c, bad)
		}
		if before != nil {
			return before(c, args)
		}
		return nil
	}
	exclusive(c, "server", "dir")
}

// wait is the time to wait for the server.
func (t *target) wait() time.Duration { return time.Duration(t.timeout) }

// readURL reads the server where --server or the environment gives it as a URL. A user and a
// password are taken from the environment alone, since other users can read a command line;
// the errors do not repeat them.
func (t *target) readURL(c *cobra.Command, lookupEnv func(string) (string, bool)) error {
	text, from := t.server, "--server"
	if !c.Flags().Changed("server") {
		if env, ok := lookupEnv("KVD_URL"); ok && env != "" {
			text, from = env, "KVD_URL"
		} else {
			from = "KVD_SERVER"
		}
	}
	if !strings.Contains(text, "://") {
		t.server = text
		return nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return fmt.Errorf("%s is not a URL such as kvd://127.0.0.1:5830", from) // err has the password
	case u.Scheme != "kvd" && u.Scheme != "kvds":
		return fmt.Errorf("%s: the scheme is %q, must be kvd, or kvds for TLS", from, u.Scheme)
	case u.User != nil && from != "KVD_URL":
		return fmt.Errorf("%s: a user and a password in a URL are taken from KVD_URL alone", from)
	case u.Hostname() == "" || strings.Trim(u.Path, "/") != "":
		return fmt.Errorf("%s must be kvd://HOST:PORT without a path", from)
	}
	t.server = u.Host
	return t.login.fromURL(c, u, from)
}

// env returns a variable of the environment, or def where it is not set.
func (a *app) env(name, def string) string {
	if v, ok := a.lookupEnv(name); ok {
		return v
	}
	return def
}

// store is an open store that the caller closes.
type store interface {
	kv.Store
	kv.Submitter
	io.Closer
}

// errNoStore is the error for a directory without a store.
var errNoStore = errors.New("no store")

// missing says whether a verb may create a missing store.
type missing bool

const (
	mustExist missing = false
	mayCreate missing = true
)

// open opens the target, until the context ends. The timeout of the target bounds one
// attempt to connect, but not the recovery of a directory.
func (a *app) open(ctx context.Context, m missing) (store, error) {
	t := &a.target
	if t.dir == "" {
		s, err := t.dial(ctx)
		if err != nil {
			return nil, t.explainTimeout(ctx, err)
		}
		return s, nil
	}
	if _, err := os.ReadDir(t.dir); errors.Is(err, fs.ErrPermission) {
		return nil, err
	}
	if m == mustExist && !holdsStore(t.dir) {
		return nil, fmt.Errorf("%w in %s: \"kvd add --dir\" creates one", errNoStore, t.dir)
	}
	return a.openDir()
}

// openDir opens the directory. Damage that the recovery found goes to standard error.
func (a *app) openDir() (store, error) {
	opts, err := a.dirOptions()
	if err != nil {
		return nil, err
	}
	p := a.newProgress(a.newLogger(formatAuto, slog.LevelInfo))
	opts.Progress = func(b bucket.Progress) { p.show(string(b.Stage), b.Done, b.Total) }
	s, err := bucket.Open(a.target.dir, opts)
	p.clear()
	if err != nil {
		return nil, err
	}
	report := s.Report()
	doubtful := false
	for _, d := range report.Damages {
		own := *d
		own.UpTo = 0 // the ways out follow once
		doubtful = doubtful || d.UpTo != 0
		fmt.Fprintln(a.err, "kvd: warning:", &own)
	}
	if doubtful {
		fmt.Fprintln(a.err, "kvd: warning: records are missing. \"kvd lost\" lists them. Ways out: a backup; \"kvd repair\" copies what is sound into a new store; reads with --stale; \"kvd accept BUCKET\" gives up what is missing")
	}
	if report.ReadOnly != nil {
		fmt.Fprintln(a.err, "kvd: warning:", report.ReadOnly)
	}
	return s, nil
}

// holdsStore reports whether a directory has a manifest, so that a mistyped name does
// not become a new store.
func holdsStore(dir string) bool {
	found, err := filepath.Glob(filepath.Join(dir, "manifest.*"))
	return err == nil && len(found) > 0
}

// withStore runs fn on the target and closes it. If fn succeeds, the error of Close is
// returned: closing a directory writes.
func (a *app) withStore(ctx context.Context, m missing, fn func(context.Context, store) error) (err error) {
	s, err := a.open(ctx, m)
	if err != nil {
		return err
	}
	defer func() {
		if closed := s.Close(); err == nil && closed != nil && !errors.Is(closed, kv.ErrReadOnly) {
			err = closed
		}
	}()
	return a.target.explainTimeout(ctx, fn(ctx, s))
}

// explainTimeout says what did not answer in time. The context is that of the whole command,
// which has no deadline.
func (t *target) explainTimeout(ctx context.Context, err error) error {
	if t.dir != "" || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, kv.ErrOutcomeUnknown) {
		return err
	}
	return &noAnswerError{t.server, t.wait(), err}
}

// noAnswerError is the end of the time to wait for a server.
type noAnswerError struct {
	server string
	after  time.Duration
	err    error
}

func (e *noAnswerError) Error() string {
	return fmt.Sprintf("no answer from %s within %v (--timeout)", e.server, e.after)
}

func (e *noAnswerError) Unwrap() error { return e.err }

// withBucket is withStore for verbs that work on one bucket, within the timeout.
func (a *app) withBucket(ctx context.Context, name string, fn func(context.Context, kv.Bucket) error) error {
	return a.withStore(ctx, mustExist, func(ctx context.Context, s store) error {
		ctx, cancel := context.WithTimeout(ctx, a.target.wait())
		defer cancel()
		b, err := s.Bucket(ctx, name)
		if err != nil {
			return err
		}
		return fn(ctx, b)
	})
}
