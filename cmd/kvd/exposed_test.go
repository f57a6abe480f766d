package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWhatOthersCanReachIsWarnedAbout(t *testing.T) {
	dir := t.TempDir()
	data, users := filepath.Join(dir, "data"), filepath.Join(dir, "users")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(users, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		data, users os.FileMode
		named       string // the users file; empty: none
		warns       []string
	}{
		{0o700, 0o600, users, nil},
		{0o750, 0o640, users, nil}, // a group is the operator's choice
		{0o755, 0o600, users, []string{"data"}},
		{0o711, 0o600, users, []string{"data"}},
		{0o700, 0o644, users, []string{"users"}},
		{0o755, 0o644, users, []string{"data", "users"}},
		{0o755, 0o644, "", []string{"data"}},
	} {
		for path, mode := range map[string]os.FileMode{data: c.data, users: c.users} {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
		}
		var log bytes.Buffer
		d := &daemon{cfg: &serveConfig{data: data, users: c.named}, log: slog.New(slog.NewTextHandler(&log, nil))}
		d.warnExposed()
		if n := strings.Count(log.String(), "level=WARN"); n != len(c.warns) {
			t.Errorf("modes %o and %o: %d warnings, want %d:\n%s", c.data, c.users, n, len(c.warns), log.String())
		}
		for _, name := range c.warns {
			if !strings.Contains(log.String(), "="+filepath.Join(dir, name)+" ") {
				t.Errorf("modes %o and %o: no warning about %s:\n%s", c.data, c.users, name, log.String())
			}
		}
	}
}
