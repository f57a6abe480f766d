package main

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"strings"
	"syscall"
	"testing"

	"kvd/bucket"
	"kvd/kv"
	"kvd/kv/msglog"
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

// Buckets that hold streams are shown to those who ask for them, and made by nobody.
func TestReservedBucketsAreHidden(t *testing.T) {
	dir := t.TempDir()
	const name = msglog.ReservedBucket + "stream_S"
	s, err := bucket.Open(dir, bucket.Options{LogFileSize: 64 << 10, ReserveSize: -1})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.CreateBucket(t.Context(), kv.Config{Bucket: name, Kind: msglog.Kind})
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	for args, want := range map[string]struct {
		code  exitCode
		shows bool
	}{
		"ls -n": {exitOK, false}, "ls": {exitOK, false}, "ls --json": {exitOK, false}, "__complete info _kvd": {exitOK, false},
		"ls -n --all": {exitOK, true}, "ls --all": {exitOK, true}, "ls --all --json": {exitOK, true}, "info " + name: {exitOK, true},
		"add " + name + "2": {exitUsage, false},
	} {
		a := newTestApp("")
		if code := a.run(append(strings.Fields(args), "--dir", dir)); code != want.code {
			t.Errorf("%s: exit code %d: %s", args, code, a.err.String())
		}
		if out := a.out.String(); strings.Contains(out, name) != want.shows || strings.Contains(out, "Marker") {
			t.Errorf("%s prints\n%s", args, out)
		}
	}
}

// What a front end keeps in a bucket's metadata is not shown, and outlives an edit.
func TestReservedMetadataIsHiddenAndKept(t *testing.T) {
	dir := t.TempDir()
	metadata := map[string]string{msglog.ReservedMetadata + "nats": `{"no_direct":true}`, "owner": "me"}
	open := func() *bucket.Store {
		s, err := bucket.Open(dir, bucket.Options{LogFileSize: 64 << 10, ReserveSize: -1})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	_, err := s.CreateBucket(t.Context(), kv.Config{Bucket: "b", Metadata: metadata})
	if err := errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{"info b", "info b --json", "ls --json", "edit b --history 3 --metadata team:a --json"} {
		a := newTestApp("")
		if code := a.run(append(strings.Fields(args), "--dir", dir)); code != exitOK {
			t.Fatalf("%s: exit code %d: %s", args, code, a.err.String())
		}
		if out := a.out.String(); !strings.Contains(out, "owner") || strings.Contains(out, msglog.ReservedMetadata) {
			t.Errorf("%s prints\n%s", args, out)
		}
	}
	s = open()
	metadata["team"] = "a"
	for st, err := range s.Buckets(t.Context()) {
		if err != nil || st.Config.History != 3 || !maps.Equal(st.Config.Metadata, metadata) {
			t.Errorf("after the edit: %+v, error %v", st.Config, err)
		}
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
