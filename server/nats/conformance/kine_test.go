package conformance_test

import (
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	natsfront "kvd/server/nats"
)

const kineVersion = "v0.17.5"

// TestKine runs the tests that kine, which keeps the state of a k3s cluster, has of its NATS
// backend. They are the module's own, and start their servers with a helper of nats-server.
// That helper is replaced in a copy of nats-server: it asks this test for a kvd.
func TestKine(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", "github.com/k3s-io/kine@"+kineVersion).Output()
	var kine struct{ Dir, GoMod string }
	if err == nil {
		err = json.Unmarshal(out, &kine)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	dir := t.TempDir()
	replaceHelper(t, filepath.Join(dir, "nats-server"))
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(kine.Dir, name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	modfile := "-modfile=" + filepath.Join(dir, "go.mod")
	edit := exec.CommandContext(t.Context(), "go", "mod", "edit", "-replace=github.com/nats-io/nats-server/v2="+filepath.Join(dir, "nats-server"), filepath.Join(dir, "go.mod"))
	if out, err := edit.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", modfile, "-vet=off", "-count=1", "-json", "./pkg/drivers/nats")
	cmd.Dir = kine.Dir
	cmd.Env = append(os.Environ(), "KVD_TESTER="+serveKvds(t), "GOFLAGS=-mod=mod", "GOWORK=off", "CGO_ENABLED=0")
	checkUpstream(t, "kine", cmd, 13)
}

// replaceHelper copies the sources of nats-server, in which test.RunServer starts a kvd.
func replaceHelper(t *testing.T, dir string) {
	t.Helper()
	if err := os.CopyFS(dir, os.DirFS(moduleDir(t, "github.com/nats-io/nats-server/v2"))); err != nil {
		t.Fatal(err)
	}
	const before, after = "{\n\treturn RunServerCallback(opts, nil)\n}", "{ return runKvd() }"
	path := filepath.Join(dir, "test", "test.go")
	text, err := os.ReadFile(path)
	if err != nil || strings.Count(string(text), before) != 1 {
		t.Fatalf("%s has no %q: %v", path, before, err)
	}
	helper, err := os.ReadFile(filepath.Join("testdata", "kine", "runkvd.go.txt"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "test", "runkvd.go"), helper, 0o600)
	}
	if err == nil {
		err = os.Remove(path) // which cannot be written
	}
	if err == nil {
		err = os.WriteFile(path, []byte(strings.Replace(string(text), before, after, 1)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// serveKvds starts a kvd for each connection to the address that it returns, and tells the
// client its port.
func serveKvds(t *testing.T) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			url := start(t, t.TempDir(), natsfront.Options{}).conn.ConnectedUrl()
			_, _ = io.WriteString(c, url[strings.LastIndexByte(url, ':')+1:]) // a client that is gone has failed
			c.Close()
		}
	}()
	return l.Addr().String()
}
