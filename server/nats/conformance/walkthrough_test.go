package conformance_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	natsfront "kvd/server/nats"
)

var update = flag.Bool("update", false, "rewrite the scripts with what the commands print")

// TestWalkthrough types the walkthrough of NATS' key/value store into the stock CLI, and
// compares what it prints, to the letter, with what testdata has.
//
// A script is a row of blocks. A block begins with a command, and what it prints
// follows: lines of stdout as they are, lines of stderr after "! ", and "? N" where the
// exit code is N, not 0.
//
//	$ COMMAND        runs a command with sh
//	~ COMMAND        runs it until it prints what follows
//	& NAME COMMAND   starts a watch; nothing follows
//	= NAME           waits until that command has printed what follows, and ends it
//	# TEXT           a comment
func TestWalkthrough(t *testing.T) {
	cli := buildCLI(t)
	for _, name := range []string{"walkthrough", "streams", "pulls", "objects", "refused"} {
		t.Run(name, func(t *testing.T) {
			f := start(t, t.TempDir(), natsfront.Options{})
			s := &script{t: t, front: f, url: f.conn.ConnectedUrl(), path: filepath.Dir(cli), home: t.TempDir(), running: map[string]*background{}}
			s.play(filepath.Join("testdata", name+".txt"))
		})
	}
}

var cli struct {
	once sync.Once
	path string
	err  error
}

// buildCLI builds the stock CLI, in the version that go.mod pins, once.
func buildCLI(t *testing.T) string {
	t.Helper()
	cli.once.Do(func() {
		dir, err := os.MkdirTemp("", "kvd-nats-cli")
		if err != nil {
			cli.err = err
			return
		}
		cli.path = filepath.Join(dir, "nats")
		ctx, cancel := context.WithTimeout(context.Background(), buildPatience)
		defer cancel()
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", cli.path, "github.com/nats-io/natscli/nats").CombinedOutput(); err != nil {
			cli.err = fmt.Errorf("build the CLI: %w: %s", errors.Join(err, ctx.Err()), out)
		}
	})
	if cli.err != nil {
		t.Fatal(cli.err)
	}
	return cli.path
}

func TestMain(m *testing.M) {
	code := m.Run()
	if cli.path != "" {
		os.RemoveAll(filepath.Dir(cli.path))
	}
	os.Exit(code)
}

// script plays one file.
type script struct {
	t               *testing.T
	front           *front
	url, path, home string
	running         map[string]*background
}

// background is a command that runs on.
type background struct {
	cmd *exec.Cmd
	out safeBuffer
}

// safeBuffer is a buffer that one goroutine writes while others look.
type safeBuffer struct {
	mu      sync.Mutex
	b       bytes.Buffer
	changed chan struct{}
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case b.changed <- struct{}{}:
	default:
	}
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// How long a machine that is busy may take.
const (
	patience      = time.Minute
	buildPatience = 5 * time.Minute // for the CLI and what it needs, from nothing
)

func (s *script) play(file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	var played strings.Builder
	lines := strings.SplitAfter(string(text), "\n")
	for i := 0; i < len(lines); {
		head := lines[i]
		i++
		var want strings.Builder
		for ; i < len(lines) && !isHead(lines[i]); i++ {
			want.WriteString(lines[i])
		}
		got := s.block(strings.TrimSuffix(head, "\n"), want.String())
		played.WriteString(head)
		played.WriteString(got)
		if got != want.String() && !*update {
			s.t.Errorf("%s\nprinted\n%s\nwant\n%s", strings.TrimSuffix(head, "\n"), got, want.String())
		}
	}
	if *update {
		if err := os.WriteFile(file, []byte(played.String()), 0o644); err != nil {
			s.t.Fatal(err)
		}
	}
}

func isHead(line string) bool {
	return len(line) > 1 && strings.ContainsRune("$~&=#", rune(line[0])) && line[1] == ' '
}

// block plays a block and returns what follows its head.
func (s *script) block(head, want string) string {
	if len(head) < 2 {
		return want
	}
	command := head[2:]
	switch head[0] {
	case '$':
		return s.run(command)
	case '~':
		got := s.run(command)
		limit := patience
		if *update {
			limit = 10 * time.Second
		}
		for end := time.Now().Add(limit); got != want && time.Now().Before(end); {
			got = s.run(command)
		}
		return got
	case '&':
		name, command, _ := strings.Cut(command, " ")
		s.start(name, command)
		return ""
	case '=':
		return s.await(command, want)
	}
	return want
}

func (s *script) command(command string) *exec.Cmd {
	cmd := exec.Command("sh", "-c", "exec "+command)
	if strings.Contains(command, "|") {
		cmd = exec.Command("sh", "-c", command)
	}
	cmd.Env = []string{
		"PATH=" + s.path + ":" + os.Getenv("PATH"), "HOME=" + s.home, "XDG_CONFIG_HOME=" + s.home, "NATS_URL=" + s.url, "TZ=UTC",
	}
	return cmd
}

func (s *script) run(command string) string {
	cmd := s.command(command)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	result := redact(ended(out.String()))
	for line := range strings.SplitSeq(strings.TrimSuffix(redact(errs.String()), "\n"), "\n") {
		if line != "" {
			result += "! " + line + "\n"
		}
	}
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		result += fmt.Sprintf("? %d\n", code)
	}
	return result
}

// ended returns a text with a newline at its end, unless it is empty.
func ended(s string) string {
	if s != "" && !strings.HasSuffix(s, "\n") {
		s += "\n"
	}
	return s
}

// start starts a watch, and waits until it has begun: until it is told of its consumer.
func (s *script) start(name, command string) {
	answers, err := s.front.conn.SubscribeSync("_INBOX.>")
	if err != nil {
		s.t.Fatal(err)
	}
	defer answers.Unsubscribe()
	if err := s.front.conn.Flush(); err != nil {
		s.t.Fatal(err)
	}
	b := &background{cmd: s.command(command), out: safeBuffer{changed: make(chan struct{}, 1)}}
	b.cmd.Stdout, b.cmd.Stderr = &b.out, &b.out
	if err := b.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.running[name] = b
	s.t.Cleanup(func() {
		_ = b.cmd.Process.Kill() // it may have ended
		_ = b.cmd.Wait()
	})
	for begun := false; !begun; {
		answer, err := answers.NextMsg(patience)
		if err != nil {
			s.t.Fatalf("%s: no consumer: %v; it printed %q", command, err, b.out.String())
		}
		begun = bytes.Contains(answer.Data, []byte("consumer_create_response"))
	}
}

// await waits until a command has printed what is wanted, or for as long as patience
// lasts. To rewrite the script it waits for a while without output.
func (s *script) await(name, want string) string {
	b := s.running[name]
	timeout := time.After(patience)
	for {
		got := redact(ended(b.out.String()))
		if got == want && !*update {
			return got
		}
		quiet := make(<-chan time.Time)
		if *update {
			quiet = time.After(3 * time.Second)
		}
		select {
		case <-b.out.changed:
		case <-quiet:
			return redact(ended(b.out.String()))
		case <-timeout:
			return got
		}
	}
}

// redactions hide what differs from run to run.
var redactions = []struct {
	pattern *regexp.Regexp
	by      string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d`), "<time>"},
	{regexp.MustCompile(`\b\d\d:\d\d:\d\d\b`), "<clock>"},
	{regexp.MustCompile(`\bN[A-Z2-7]{55}\b`), "<server-id>"},
	{regexp.MustCompile(`127\.0\.0\.1:\d+`), "127.0.0.1:4222"},
	{regexp.MustCompile(`RTT: .*`), "RTT: <rtt>"},
	{regexp.MustCompile(`Client ID: .*`), "Client ID: <id>"},
	{regexp.MustCompile(`\.\d+ \+0000 UTC \([^)]*\)`), " (<ago>)"},
}

func redact(s string) string {
	for _, r := range redactions {
		s = r.pattern.ReplaceAllString(s, r.by)
	}
	return ago.ReplaceAllStringFunc(s, func(cell string) string { return fmt.Sprintf("│ %-*s│\n", len(cell)-len("│ │\n"), "<ago>") })
}

// ago is how long something is ago, in the last cell of a row.
var ago = regexp.MustCompile(`│ [0-9.]+(ms|s|m[0-9.]+s) +│\n`)
