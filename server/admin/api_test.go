package admin_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"kvd/kv"
	"kvd/server"
	"kvd/server/admin"
)

// startAPI starts a server with the API, whose log is kept.
func startAPI(t *testing.T, users string, opts admin.Options) (running, *bytes.Buffer, *admin.Metrics) {
	t.Helper()
	var parsed *server.Users
	if users != "" {
		var err error
		if parsed, err = server.ParseUsers(strings.NewReader(users)); err != nil {
			t.Fatal(err)
		}
	}
	log := new(bytes.Buffer) // written by one request at a time
	opts.Metrics = admin.NewMetrics("1.2.3", "")
	opts.Operator = &admin.Operator{
		Logins:  server.NewLogins(parsed),
		Info:    func(context.Context) (admin.Info, error) { return admin.Info{Version: "1.2.3"}, nil },
		Servers: func() []admin.Serving { return nil },
		Logger:  slog.New(slog.NewTextHandler(log, nil)),
	}
	s := start(t, opts)
	s.SetReady(nil)
	return s, log, opts.Metrics
}

// ask sends a request that change may change, and returns status and body.
func (r running) ask(method, path, body string, change func(*http.Request)) (int, string) {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if change != nil {
		change(request)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func hash(t *testing.T, password string) string {
	t.Helper()
	h, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(h)
}

// Every path asks for the same permission, whatever the method.
func TestTheAPINeedsAnAdministrator(t *testing.T) {
	h := hash(t, "secret")
	s, _, _ := startAPI(t, "boss "+h+" *=all\nbob "+h+" b*=all\nhalf "+h+" *=get,put,del,watch\n", admin.Options{})
	as := func(name, password string) func(*http.Request) {
		return func(r *http.Request) { r.SetBasicAuth(name, password) }
	}
	want := func(request string, change func(*http.Request), status int, code string) {
		t.Helper()
		method, path, _ := strings.Cut(request, " ")
		if got, body := s.ask(method, path, "", change); got != status || !strings.Contains(body, code) {
			t.Errorf("%s answers %d %s, want %d %s", request, got, body, status, code)
		}
	}
	for _, request := range []string{
		"GET /api/v1/info", "GET /api/v1/top", "GET /api/v1/slow", "PUT /api/v1/slow", "GET /api/v1/conns", "DELETE /api/v1/conns/1", "GET /api/v1/nothing",
	} {
		want(request, nil, 401, "AUTH_REQUIRED")
		want(request, as("bob", "secret"), 403, "DENIED")
		want(request, as("half", "secret"), 403, "DENIED")
	}
	want("GET /api/v1/info", as("boss", "wrong"), 401, "AUTH_FAILED")
	want("GET /api/v1/info", as("nobody", "secret"), 401, "AUTH_FAILED")
	if status, body := s.ask("GET", "/api/v1/info", "", as("boss", "secret")); status != 200 || !strings.Contains(body, `"version":"1.2.3"`) {
		t.Errorf("an administrator gets %d %s", status, body)
	}
}

func TestPagesGetNothing(t *testing.T) {
	s, _, _ := startAPI(t, "", admin.Options{Hosts: []string{"kvd.example"}})
	for name, c := range map[string]struct {
		change func(*http.Request)
		status int
	}{
		"program":        {nil, 200},
		"origin":         {func(r *http.Request) { r.Header.Set("Origin", s.url) }, 403},
		"fetch site":     {func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "same-origin") }, 403},
		"rebound name":   {func(r *http.Request) { r.Host = "evil.example" }, 421},
		"rebound suffix": {func(r *http.Request) { r.Host = "kvd.example.evil.example:8222" }, 421},
		"no name":        {func(r *http.Request) { r.Host = "kvd.example." }, 421},
		"known name":     {func(r *http.Request) { r.Host = "KVD.example:80" }, 200},
		"localhost":      {func(r *http.Request) { r.Host = "localhost:8222" }, 200},
		"IPv6":           {func(r *http.Request) { r.Host = "[::1]:8222" }, 200},
	} {
		if status, body := s.ask("GET", "/api/v1/conns", "", c.change); status != c.status {
			t.Errorf("%s: %d %s, want %d", name, status, body, c.status)
		}
	}
	evil := func(r *http.Request) { r.Host = "evil.example" }
	if status, _ := s.ask("GET", "/metrics", "", evil); status != 421 {
		t.Errorf("metrics under a name that is not known: %d", status)
	}
	for _, path := range []string{"/livez", "/readyz", "/healthz"} {
		if status, _ := s.ask("GET", path, "", evil); status != 200 {
			t.Errorf("%s under any name: %d", path, status)
		}
	}
	open := start(t, admin.Options{Metrics: admin.NewMetrics("", ""), AnyHost: true})
	if status, _ := open.ask("GET", "/metrics", "", evil); status != 200 {
		t.Errorf("a listener for any name answers %d", status)
	}
	if status, _ := open.ask("GET", "/api/v1/info", "", nil); status != 404 {
		t.Errorf("a listener of metrics answers the API with %d", status)
	}
}

func TestTheSlowLog(t *testing.T) {
	s, log, m := startAPI(t, "", admin.Options{})
	b, err := m.Observe(openStore(t, m)).CreateBucket(ctx, kv.Config{Bucket: "b"})
	if err != nil {
		t.Fatal(err)
	}
	slow := func() (l admin.SlowLog) {
		t.Helper()
		_, body := s.ask("GET", "/api/v1/slow", "", nil)
		if err := json.Unmarshal([]byte(body), &l); err != nil {
			t.Fatalf("%v: %s", err, body)
		}
		return l
	}
	for body, status := range map[string]int{
		`{"threshold":"1h"}`: 200, `{"threshold":"-1s"}`: 400, `{"threshold":"soon"}`: 400, `{"limit":"1s"}`: 400, `x`: 400,
		`{"threshold":"` + strings.Repeat("1", 8<<10) + `s"}`: 400,
	} {
		if got, answer := s.ask("PUT", "/api/v1/slow", body, nil); got != status {
			t.Errorf("%.40s is answered %d %s", body, got, answer)
		}
	}
	if l := slow(); l.Threshold != "1h0m0s" {
		t.Errorf("the threshold is %s", l.Threshold)
	}
	if !strings.Contains(log.String(), `msg=audit act="slow log changed"`) {
		t.Errorf("the log has %s", log)
	}
	m.SetSlow(1, nil) // everything is slow
	long := strings.Repeat("k", 300)
	const writes = 200
	for range writes {
		if _, err := b.PutString(ctx, long, "v"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Delete(ctx, "k", kv.LastRevision(7)); err == nil {
		t.Fatal("a delete with a wrong condition succeeded")
	}
	m.SetSlow(0, nil)
	if _, err := b.PutString(ctx, "k", "v"); err != nil {
		t.Fatal(err)
	}
	l := slow()
	if l.Threshold != "0s" || l.Count != writes+1 || len(l.Calls) != 128 {
		t.Fatalf("threshold %s, %d calls, %d kept", l.Threshold, l.Count, len(l.Calls))
	}
	if c := l.Calls[0]; c.Operation != "delete" || c.Error == "" || c.Bucket != "b" || time.Since(c.Time) > time.Hour {
		t.Errorf("the newest call is %+v", c)
	}
	if c := l.Calls[1]; c.Operation != "put" || len(c.Key) != 256 || c.Seconds <= 0 {
		t.Errorf("the call before is %+v", c)
	}
}

func TestTop(t *testing.T) {
	s, _, m := startAPI(t, "", admin.Options{})
	b, err := m.Observe(openStore(t, m)).CreateBucket(ctx, kv.Config{Bucket: "b"})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := b.PutString(ctx, "k", "v"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Create(ctx, "k", nil); err == nil {
		t.Fatal("a key that exists was created")
	}
	_, body := s.ask("GET", "/api/v1/top", "", nil)
	var top admin.Top
	if err := json.Unmarshal([]byte(body), &top); err != nil {
		t.Fatal(err)
	}
	if len(top.Operations) != 2 || top.Operations[0].Operation != "create" || top.Operations[0].Failed != 1 {
		t.Fatalf("operations: %+v", top.Operations)
	}
	if o := top.Operations[1]; o.Bucket != "b" || o.Operation != "put" || o.OK != 3 || o.Calls != 3 || o.Seconds <= 0 {
		t.Errorf("puts: %+v", o)
	}
	calls := map[string]uint64{}
	for _, l := range top.Latencies {
		calls[l.Operation] = l.Calls
		if last := l.Buckets[len(l.Buckets)-1]; last.Calls > l.Calls {
			t.Errorf("%s: %d of %d calls are in the histogram", l.Operation, last.Calls, l.Calls)
		}
	}
	if calls["put"] != 3 || calls["create"] != 1 || calls["configure"] != 1 {
		t.Errorf("calls: %v", calls)
	}
}
