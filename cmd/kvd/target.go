package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"kvd/bucket"
	"kvd/kv"
)

// target is the store that a verb works on.
type target struct {
	server  string
	dir     string
	timeout time.Duration
	login   login
	bad     error // of the environment; nil: none
}

const (
	serverDefault  = "127.0.0.1:5830"
	timeoutDefault = 5 * time.Second
)

// addTarget gives a command the flags that say where its store is.
func (a *app) addTarget(c *cobra.Command) {
	t := &a.target
	f := c.Flags()
	f.StringVar(&t.server, "server", a.env("KVD_SERVER", serverDefault), "address of the server (KVD_SERVER)")
	f.StringVar(&t.dir, "dir", "", "work on this directory instead of a server")
	timeout := ageFlag(timeoutDefault)
	if v, ok := a.lookupEnv("KVD_TIMEOUT"); ok {
		if err := timeout.Set(v); err != nil {
			t.bad = usageOf(c, fmt.Errorf("KVD_TIMEOUT: %w", err))
		}
	}
	f.DurationVar(&t.timeout, "timeout", time.Duration(timeout), "time to wait for the server (KVD_TIMEOUT)")
	exclusive(c, "server", "dir")
	_ = c.MarkFlagDirname("dir") // it exists
	t.login.addFlags(a, c)
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
	if t.bad != nil {
		return nil, t.bad
	}
	if t.dir == "" {
		return t.dial(ctx)
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
	for _, d := range report.Damages {
		fmt.Fprintln(a.err, "kvd: warning:", d)
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
	return fn(ctx, s)
}

// withBucket is withStore for verbs that work on one bucket, within the timeout.
func (a *app) withBucket(ctx context.Context, name string, fn func(context.Context, kv.Bucket) error) error {
	return a.withStore(ctx, mustExist, func(ctx context.Context, s store) error {
		ctx, cancel := context.WithTimeout(ctx, a.target.timeout)
		defer cancel()
		b, err := s.Bucket(ctx, name)
		if err != nil {
			return err
		}
		return fn(ctx, b)
	})
}
