package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"

	"kvd/bucket"
	"kvd/server/admin"
)

// A port that is taken ends the start if somebody asked for it, and is noted if not.
func TestNATSPortTaken(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	store, err := bucket.Open(t.TempDir(), bucket.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	start := func(asked bool) (*daemon, error) {
		d := &daemon{
			cfg: &serveConfig{nats: taken.Addr().String(), natsAsked: asked}, log: slog.New(slog.DiscardHandler),
			security: &security{}, metrics: admin.NewMetrics("", ""), failed: make(chan error, 1),
		}
		return d, d.startNATS(store, "v1")
	}
	if _, err := start(true); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("a port that was asked for: %v", err)
	}
	d, err := start(false)
	if err != nil || d.nats != nil || !strings.Contains(d.natsText(), "is in use") {
		t.Errorf("a port that was not asked for: %v, %q", err, d.natsText())
	}
	taken.Close()
	d, err = start(false)
	if err != nil || d.natsText() != taken.Addr().String() {
		t.Fatalf("a free port: %v, %q", err, d.natsText())
	}
	if err := errors.Join(d.nats.Shutdown(context.Background()), d.front.Close(context.Background())); err != nil {
		t.Error(err)
	}
}
