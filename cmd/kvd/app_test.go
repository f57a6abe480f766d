package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"kvd/bucket"
	"kvd/kv"
)

// testApp is an app whose surroundings are the test's.
type testApp struct {
	*app
	out, err bytes.Buffer
	env      map[string]string
}

func newTestApp(stdin string) *testApp {
	t := &testApp{env: map[string]string{}}
	t.app = &app{
		in: strings.NewReader(stdin), out: bufio.NewWriter(&t.out), err: &t.err, width: 100,
		lookupEnv: func(name string) (string, bool) { v, ok := t.env[name]; return v, ok },
	}
	return t
}

// newStoreDir makes a directory with a small store.
func newStoreDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	s, err := bucket.Open(dir, bucket.Options{LogFileSize: 64 << 10, ReserveSize: -1})
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.CreateBucket(t.Context(), kv.Config{Bucket: "b", History: 5, Description: "a test"})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"short", "two\nlines", strings.Repeat("long ", 20)} {
		if _, err := b.PutString(t.Context(), "k", v); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Delete(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestTablesOnATerminal has what a terminal shows; the scripts have the rest.
func TestTablesOnATerminal(t *testing.T) {
	dir := newStoreDir(t)
	tests := []struct {
		args string
		want []string
	}{
		{"history b k", []string{
			"History for b > k",
			"│ Key │ Revision │ Op  │",
			"│      5 │ short ",
			`│ "two\nlines" `,
			"│ long long long lon...ong long long long ", // 40 characters of the value
		}},
		{"history b gone", []string{"│ gone │        4 │ DELETE │"}},
		{"ls", []string{"Key-Value Buckets", "│ b      │ a test      │", "│      4 │        4 │"}},
		{"ls b", []string{"k\n"}},
		{"ls b -v", []string{"Contents for bucket 'b'", "│ k   │", "│        3 │"}},
		{"config show", []string{"Settings", "│ listen ", "│ 127.0.0.1:5830 "}},
		{"touch b k", []string{"b > k revision: 5"}},
		{"put b user:1,ключ v", []string{"b > user:1,ключ revision: 6"}},
		{"put b a\u202eb v", []string{`b > "a\u202eb" revision: 7`}}, // turns what follows round
		{"ls b", []string{"\"a\\u202eb\"\nk\nuser:1,ключ\n"}},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			a := newTestApp("")
			a.outTTY = true
			args := strings.Fields(tt.args)
			if args[0] != "config" {
				args = append(args, "--dir", dir)
			}
			if code := a.run(args); code != exitOK {
				t.Fatalf("exit code %d: %s", code, a.err.String())
			}
			for _, want := range tt.want {
				if !strings.Contains(a.out.String(), want) {
					t.Errorf("there is no %q in\n%s", want, a.out.String())
				}
			}
		})
	}
}

func TestValueIsAskedForOnATerminal(t *testing.T) {
	a := newTestApp("typed")
	a.inTTY = true
	if code := a.run([]string{"put", "b", "k", "--dir", newStoreDir(t)}); code != exitUsage || !strings.Contains(a.err.String(), "VALUE is missing") {
		t.Errorf("exit code %d: %s", code, a.err.String())
	}
}

// brokenWriter is an output that takes nothing.
type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }

func TestFailedOutputIsAnError(t *testing.T) {
	a := newTestApp("")
	a.app.out = bufio.NewWriter(brokenWriter{errors.New("no space")})
	if code := a.run([]string{"version"}); code != exitOther || !strings.Contains(a.err.String(), "standard output: no space") {
		t.Errorf("exit code %d: %s", code, a.err.String())
	}
}

func TestInterrupted(t *testing.T) {
	dir := newStoreDir(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a := newTestApp("")
	if code := a.execute(ctx, []string{"get", "b", "k", "--dir", dir}); code != exitInterrupted || a.err.String() != "kvd: interrupted\n" {
		t.Errorf("exit code %d: %s", code, a.err.String())
	}
	err := interrupted(fmt.Errorf("%w: %w", kv.ErrOutcomeUnknown, context.Canceled))
	if codeOf(err) != exitInterrupted || !strings.Contains(explain(err), "read before you write again") {
		t.Errorf("a write of unknown outcome is explained as %s", explain(err))
	}
}

func TestValuesDoNotControlATerminal(t *testing.T) {
	for v, want := range map[string]string{
		"two\n\tlines": "two\n\tlines",
		"\x1b]0;t\x07": `"\x1b]0;t\a"`,
		"\xff":         `"\xff"`,
		"":             "",
	} {
		if got := string(harmless([]byte(v))); got != want {
			t.Errorf("%q is shown as %s, want %s", v, got, want)
		}
	}
}

func TestBadTimeoutInTheEnvironment(t *testing.T) {
	a := newTestApp("")
	a.env["KVD_TIMEOUT"] = "soon"
	if code := a.run([]string{"ls"}); code != exitUsage || !strings.Contains(a.err.String(), "KVD_TIMEOUT") {
		t.Errorf("exit code %d: %s", code, a.err.String())
	}
}

// watchedBucket is a bucket whose watch is a list of events.
type watchedBucket struct {
	kv.Bucket
	options kv.WatchOptions
	updates chan kv.Update
	err     error
}

func (b *watchedBucket) Watch(_ context.Context, _ []string, opts ...kv.WatchOption) (kv.Watcher, error) {
	for _, o := range opts {
		o(&b.options)
	}
	return listedWatcher{b}, nil
}

// listedWatcher is that watch.
type listedWatcher struct{ b *watchedBucket }

func (w listedWatcher) Updates() <-chan kv.Update        { return w.b.updates }
func (w listedWatcher) All() iter.Seq2[kv.Update, error] { return nil }
func (w listedWatcher) Err() error                       { return w.b.err }
func (w listedWatcher) Stop() error                      { return nil }

func TestWatch(t *testing.T) {
	at := time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC)
	events := []*kv.Entry{
		{Bucket: "b", Key: "k", Value: []byte("v"), Revision: 1, Created: at, Delta: 1, Operation: kv.Put},
		{Bucket: "b", Key: "k", Value: []byte{0xff}, Revision: 2, Created: at, Operation: kv.Put},
		nil, // the initial ones are through
		{Bucket: "b", Key: "k", Revision: 3, Created: at, Operation: kv.Delete, Reason: kv.ReasonClient},
		{Bucket: "b", Key: "l", Revision: 4, Created: at, Operation: kv.Purge, Reason: kv.ReasonExpiry},
	}
	stamp := "[" + at.Local().Format(timeLayout) + "] "
	tests := map[string]struct {
		json  bool
		flags watchFlags
		want  string
	}{
		"for people": {false, watchFlags{}, stamp + "PUT b > k: v (revision 1)\n" + stamp + `PUT b > k: "\xff" (revision 2)` + "\n" +
			stamp + "DELETE b > k (revision 3)\n" + stamp + "EXPIRE b > l (revision 4)\n"},
		"values alone": {false, watchFlags{raw: true}, "v\n\xff\n"},
		"without values": {false, watchFlags{metaOnly: true}, stamp + "PUT b > k (revision 1)\n" + stamp + "PUT b > k (revision 2)\n" +
			stamp + "DELETE b > k (revision 3)\n" + stamp + "EXPIRE b > l (revision 4)\n"},
		"JSON": {true, watchFlags{}, `{"bucket":"b","key":"k","revision":1,"operation":"PUT","created":"2026-11-22T18:00:00Z","delta":1,"value":"v"}
{"bucket":"b","key":"k","revision":2,"operation":"PUT","created":"2026-11-22T18:00:00Z","delta":0,"value":"/w==","encoding":"base64"}
{"synced":true}
{"bucket":"b","key":"k","revision":3,"operation":"DELETE","created":"2026-11-22T18:00:00Z","delta":0,"reason":"client"}
{"bucket":"b","key":"l","revision":4,"operation":"EXPIRE","created":"2026-11-22T18:00:00Z","delta":0,"reason":"expiry"}
`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			ended := errors.New("the watch ended")
			b := &watchedBucket{updates: make(chan kv.Update, len(events)), err: ended}
			for _, e := range events {
				b.updates <- kv.Update{Entry: e}
			}
			close(b.updates)
			a := newTestApp("")
			a.json = tt.json
			if err := a.watch(t.Context(), b, nil, &tt.flags); !errors.Is(err, ended) {
				t.Errorf("watch returns %v", err)
			}
			if got := a.out.String(); got != tt.want {
				t.Errorf("printed\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}

// TestWatchNamesADamagedValue on the standard error, and goes on.
func TestWatchNamesADamagedValue(t *testing.T) {
	e := &kv.Entry{Bucket: "b", Key: "k", Revision: 7, Operation: kv.Put}
	b := &watchedBucket{updates: make(chan kv.Update, 2)}
	b.updates <- kv.Update{Entry: e, Err: &kv.CorruptError{File: "f", Offset: 8, Detail: "value checksum"}}
	b.updates <- kv.Update{Entry: &kv.Entry{Bucket: "b", Key: "k", Value: []byte("v"), Revision: 8, Operation: kv.Put}}
	close(b.updates)
	a := newTestApp("")
	if err := a.watch(t.Context(), b, nil, &watchFlags{raw: true}); err != nil {
		t.Error(err)
	}
	if out, said := a.out.String(), a.err.String(); out != "v\n" || !strings.Contains(said, "b > k, revision 7") || !strings.Contains(said, "value checksum") {
		t.Errorf("printed %q, and said %q", out, said)
	}
}

// TestWatchFlushesWhenItWaits has the reader of a pipe see an event when it
// happens, not when a buffer is full.
func TestWatchFlushesWhenItWaits(t *testing.T) {
	b := &watchedBucket{updates: make(chan kv.Update)}
	a := newTestApp("")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	a.app.out = bufio.NewWriter(w)
	done := make(chan error, 1)
	go func() { done <- a.watch(t.Context(), b, nil, &watchFlags{raw: true}) }()
	lines := bufio.NewReader(r)
	for _, want := range []string{"one\n", "two\n"} {
		b.updates <- kv.Update{Entry: &kv.Entry{Operation: kv.Put, Value: []byte(strings.TrimSpace(want))}}
		if got, err := lines.ReadString('\n'); got != want || err != nil {
			t.Fatalf("read %q, %v", got, err)
		}
	}
	close(b.updates)
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestWatchOptions(t *testing.T) {
	flags := watchFlags{history: true, noDeletes: true, metaOnly: true, revision: 7}
	var got kv.WatchOptions
	for _, o := range flags.options() {
		o(&got)
	}
	if want := (kv.WatchOptions{IncludeHistory: true, IgnoreDeletes: true, MetaOnly: true, ResumeFrom: 7}); !reflect.DeepEqual(got, want) {
		t.Errorf("options are %+v", got)
	}
	got = kv.WatchOptions{}
	for _, o := range (&watchFlags{updates: true}).options() {
		o(&got)
	}
	if want := (kv.WatchOptions{UpdatesOnly: true}); !reflect.DeepEqual(got, want) {
		t.Errorf("options are %+v", got)
	}
}

// TestNotify has a service manager's socket hear what state the server is in.
func TestNotify(t *testing.T) {
	name := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	notifier(name).notify("READY=1", "STATUS=serving")
	buf := make([]byte, 100)
	n, err := conn.Read(buf)
	if err != nil || string(buf[:n]) != "READY=1\nSTATUS=serving" {
		t.Errorf("heard %q, %v", buf[:n], err)
	}
	notifier("").notify("READY=1")
	notifier(name + ".gone").notify("READY=1") // and nothing happens
}

func TestProgressOnATerminal(t *testing.T) {
	var terminal bytes.Buffer
	p := &progress{terminal: &terminal}
	p.show("reading", 1, 4)
	if terminal.Len() > 0 {
		t.Errorf("short work shows %q", terminal.String())
	}
	p.began = p.began.Add(-3 * time.Second)
	p.show("reading", 3, 4)
	if got := terminal.String(); got != "reading:  75 %, 1s left" {
		t.Errorf("long work shows %q", got)
	}
	p.clear()
	if got := terminal.String(); !strings.HasSuffix(got, " \r") {
		t.Errorf("the line stays: %q", got)
	}
	p.began = p.began.Add(-3 * time.Second)
	terminal.Reset()
	p.show("reading", 3, 0)
	if got := terminal.String(); got != "reading: 3" {
		t.Errorf("work of unknown length shows %q", got)
	}
	p.began = p.began.Add(-time.Hour)
	terminal.Reset()
	p.showBytes(bucket.Progress{Stage: "reading", Done: 4 << 30, Total: 8 << 30})
	if got := terminal.String(); !strings.HasSuffix(got, "reading:  50 %, 1.1 MiB/s, 1h0m6s left") {
		t.Errorf("a rate is shown as %q", got)
	}
	p.showRecords("reading", 7200, 0)
	if got := terminal.String(); !strings.HasSuffix(got, "reading: 7200, 2 records/s") {
		t.Errorf("a rate is shown as %q", got)
	}
}

func TestProgressInALog(t *testing.T) {
	var log bytes.Buffer
	p := &progress{logger: slog.New(slog.NewTextHandler(&log, nil))}
	p.show("reading", 1, 4)
	if log.Len() > 0 {
		t.Errorf("short work logs %q", log.String())
	}
	p.logged = p.logged.Add(-progressInterval)
	p.show("reading", 2, 4)
	if got := log.String(); !strings.Contains(got, "msg=reading done=2 total=4") {
		t.Errorf("long work logs %q", got)
	}
}

// TestExampleFile has every setting with its default in the example, so that it
// does not lag behind.
func TestExampleFile(t *testing.T) {
	example, err := os.ReadFile("../../contrib/kvd.toml")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "kvd.toml")
	plain := strings.ReplaceAll(string(example), "\n#", "\n") // comments become settings
	var lines []string
	for line := range strings.Lines(plain) {
		if !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	if err := os.WriteFile(name, []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
	a := newTestApp("")
	if code := a.run([]string{"config", "show", "--config", name}); code != exitOK {
		t.Fatalf("exit code %d: %s", code, a.err.String())
	}
	for _, s := range newSettings() {
		if want := s.name + "\t" + s.def + "\t" + name + "\n"; !strings.Contains(a.out.String(), want) {
			t.Errorf("the example has no %s = %q", s.name, s.def)
		}
	}
}

// A backup holds bytes of any kind, which a terminal would act on.
func TestABackupDoesNotGoToATerminal(t *testing.T) {
	a := newTestApp("")
	a.outTTY = true
	if code := a.execute(t.Context(), []string{"backup", "-", "--dir", newStoreDir(t)}); code != exitUsage || a.out.Len() > 0 {
		t.Errorf("exit code %d, %d bytes on the terminal: %s", code, a.out.Len(), a.err.String())
	}
}
