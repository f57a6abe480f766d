package conformance_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"

	natsfront "kvd/server/nats"
)

// upstreamFails are nats.go's own tests that do not pass against kvd, by package and name,
// and why.
var upstreamFails = map[string]string{
	"test TestKeyValueCrossAccounts":                  noAccounts,
	"test TestKeyValueMirrorCrossDomains":             noAccounts,
	"test TestKeyValueMirrorDirectGet":                noMirrors,
	"test TestKeyValueSourcing":                       noMirrors,
	"test TestObjectStoreMirror":                      noMirrors,
	"jetstream/test TestKeyValueCrossAccounts":        noAccounts,
	"jetstream/test TestKeyValueMirrorCrossDomains":   noAccounts,
	"jetstream/test TestKeyValueMirrorDirectGet":      noMirrors,
	"jetstream/test TestKeyValueWithSources":          noMirrors,
	"jetstream/test TestKeyValueReusesSourceConfig":   noMirrors,
	"jetstream/test TestObjectStoreMirror":            noMirrors,
	"jetstream/test TestObjectPutPermissionViolation": noAccounts,
}

const (
	noAccounts = "its servers are configured by files of nats-server"
	noMirrors  = "mirrors and sources are refused"
)

// TestUpstream runs nats.go's own tests of key/value buckets and object stores, as they are in
// the module's sources, against kvd. These tests ask a service for their servers, which the
// variable TESTER_NATS_URL names: see TESTING.md of nats.go.
func TestUpstream(t *testing.T) {
	service := startTester(t)
	dir := moduleDir(t, "github.com/nats-io/nats.go")
	for _, pkg := range []string{"test", "jetstream/test"} {
		t.Run(pkg, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), "go", "test", "-modfile=go_test.mod", "-vet=off", "-count=1", "-json", "-run", "KeyValue|ListKeys|Object", "./"+pkg)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "TESTER_NATS_URL="+service, "GOFLAGS=-mod=readonly", "GOWORK=off")
			checkUpstream(t, pkg, cmd, 40)
		})
	}
}

// moduleDir returns the directory of a module's sources.
func moduleDir(t *testing.T, module string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// checkUpstream runs a "go test -json" and reports the tests that fail without being in
// upstreamFails, those that pass and are, and fewer tests than want.
func checkUpstream(t *testing.T, pkg string, cmd *exec.Cmd, want int) {
	t.Helper()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	printed := make(map[string]*strings.Builder) // by test
	results := make(map[string]string)
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		var event struct{ Action, Test, Output string }
		if json.Unmarshal(lines.Bytes(), &event) != nil {
			t.Errorf("%s", lines.Bytes())
			continue
		}
		name, _, _ := strings.Cut(event.Test, "/")
		if printed[name] == nil {
			printed[name] = new(strings.Builder)
		}
		printed[name].WriteString(event.Output)
		if event.Test == name && (event.Action == "pass" || event.Action == "fail" || event.Action == "skip") {
			results[name] = event.Action
		}
	}
	_ = cmd.Wait() // it fails with its tests, which results has
	delete(results, "")
	if len(results) < want {
		t.Errorf("%d tests have run, want at least %d\n%s%s", len(results), want, stderr.String(), printed[""])
	}
	for name, result := range results {
		_, expected := upstreamFails[pkg+" "+name]
		switch failed := result == "fail"; {
		case failed && !expected:
			t.Errorf("%s fails\n%s", name, printed[name])
		case !failed && expected:
			t.Errorf("%s: %s, and is said to fail", name, result)
		}
	}
}

// tester is the service from which nats.go's tests get their servers: each is a kvd. The
// service itself is reached through a kvd too.
type tester struct {
	t *testing.T

	mu      sync.Mutex // guards servers
	servers map[string]*front
}

// startTester starts the service and returns its URL. It ends with the test.
func startTester(t *testing.T) string {
	t.Helper()
	bus := start(t, t.TempDir(), natsfront.Options{})
	s := &tester{t: t, servers: make(map[string]*front)}
	if _, err := bus.conn.Subscribe("tester.>", s.serve); err != nil {
		t.Fatal(err)
	}
	if err := bus.conn.Flush(); err != nil {
		t.Fatal(err)
	}
	return bus.conn.ConnectedUrl()
}

// serve answers a request for a server, or for its end.
func (s *tester) serve(m *nats.Msg) {
	var request struct {
		Snippets   map[string]string `json:"snippets"` // of a configuration file of nats-server
		InstanceID string            `json:"instance_id"`
	}
	answer := nats.NewMsg(m.Reply)
	err := json.Unmarshal(m.Data, &request)
	switch {
	case err == nil && m.Subject == "tester.create.server" && len(request.Snippets) == 0:
		answer.Data = s.create()
	case err == nil && m.Subject == "tester.destroy":
		answer.Data = s.destroy(request.InstanceID)
	default:
		answer.Header.Set("Nats-Service-Error", "kvd is one server, and has no configuration of nats-server")
	}
	if err := m.RespondMsg(answer); err != nil {
		s.t.Error(err)
	}
}

func (s *tester) create() []byte {
	f := start(s.t, s.t.TempDir(), natsfront.Options{})
	s.mu.Lock()
	defer s.mu.Unlock()
	id := fmt.Sprintf("kvd-%d", len(s.servers))
	s.servers[id] = f
	url := f.conn.ConnectedUrl()
	return fmt.Appendf(nil, `{"id":%q,"kind":"server","servers":[{"name":%[1]q,"port":%s,"running":true}]}`, id, url[strings.LastIndexByte(url, ':')+1:])
}

func (s *tester) destroy(id string) []byte {
	s.mu.Lock()
	f := s.servers[id]
	s.mu.Unlock()
	if f != nil {
		f.stop(s.t)
	}
	return []byte(`{"destroyed":true}`)
}
