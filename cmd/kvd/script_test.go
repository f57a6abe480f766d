package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"kvd/internal/damage"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"kvd": main}) }

// TestScripts runs testdata/script/*.txtar, each in a directory of its own, with
// these commands besides testscript's:
//
//	serve NAME [ARG...]     starts a server and waits until it serves; KVD_SERVER
//	                        and KVD_ADMIN become its addresses, its log NAME.log
//	start NAME ARG...       starts the program, whose output is then NAME's log
//	reads NAME TEXT         waits for the next line of the log, which has to hold the text
//	signal NAME SIGNAL      sends it a signal: TERM, INT, HUP, KILL
//	wait-exit NAME CODE     waits for its end and checks the exit code
//	wait-log NAME TEXT      waits for a line of its log that holds the text
//	exits CODE kvd ARG...   runs the program and checks the exit code
//	flip FILE OFFSET        changes a bit of a byte of a file
//	doubt DIR BUCKET        writes a doubt into the manifest of a closed store: 2 records
//	                        above revision 2 up to 4 are missing, and a value of key lost
//	bytes FILE HEX [N]      writes a file of these bytes, N times
//	hold-port VAR           listens on a port for as long as the script runs
//	certificate NAME        writes NAME.crt and NAME.key for 127.0.0.1
//	fetch PATH              prints what the admin address answers; ! for an error
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Values[serversKey] = map[string]*scriptServer{}
			e.Vars = append(e.Vars,
				"KVD_WAL_FILE_SIZE=64KiB", "KVD_WAL_MAX_SIZE=1MiB", "KVD_RESERVE_SIZE=0", // a server that starts quickly
				"KVD_NATS=",      // off, where a script does not ask for it
				"KVD_TIMEOUT=1m", // on a machine that is busy
				"TZ=UTC",
				"GORACE=atexit_sleep_ms=0", // by default a second, for each of some 300 processes
			)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve":       cmdServe,
			"start":       cmdStart,
			"reads":       cmdReads,
			"signal":      cmdSignal,
			"wait-exit":   cmdWaitExit,
			"wait-log":    cmdWaitLog,
			"exits":       cmdExits,
			"flip":        cmdFlip,
			"doubt":       cmdDoubt,
			"hold-port":   cmdHoldPort,
			"bytes":       cmdBytes,
			"certificate": cmdCertificate,
			"fetch":       cmdFetch,
		},
	})
}

type scriptKey struct{}

var serversKey = scriptKey{}

// scriptServer is a server, or another process, that a script started.
type scriptServer struct {
	cmd   *exec.Cmd
	lines chan string   // of its log; closed at its end
	seen  []string      // read from lines
	early []string      // read from lines while "serve" waited, and not by "wait-log"
	ended chan struct{} // closed once its exit code is known
}

func servers(ts *testscript.TestScript) map[string]*scriptServer {
	return ts.Value(serversKey).(map[string]*scriptServer)
}

func find(ts *testscript.TestScript, name string) *scriptServer {
	s := servers(ts)[name]
	if s == nil {
		ts.Fatalf("there is no server %q", name)
	}
	return s
}

func arguments(ts *testscript.TestScript, neg bool, args []string, usage string, least, most int) {
	if neg || len(args) < least || most >= 0 && len(args) > most {
		ts.Fatalf("usage: %s", usage)
	}
}

func cmdServe(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, "serve NAME [ARG...]", 1, -1)
	cmd := exec.Command("kvd", append([]string{"serve", "--listen", "127.0.0.1:0", "--nats", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, args[1:]...)...)
	cmd.Env = scriptEnv(ts)
	log, err := cmd.StderrPipe()
	ts.Check(err)
	s := begin(ts, args[0], cmd, log)
	line := s.waitFor(ts, `"msg":"serving"`)
	s.early = slices.Clone(s.seen)
	var serving struct{ Listen, NATS, Admin string }
	ts.Check(json.Unmarshal([]byte(line), &serving))
	ts.Setenv("KVD_SERVER", serving.Listen)
	ts.Setenv("NATS_URL", "nats://"+serving.NATS)
	ts.Setenv("KVD_ADMIN", serving.Admin)
}

func cmdStart(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, "start NAME ARG...", 2, -1)
	cmd := exec.Command("kvd", args[1:]...)
	cmd.Env = append(scriptEnv(ts), "KVD_SERVER="+ts.Getenv("KVD_SERVER"))
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	begin(ts, args[0], cmd, out)
}

// begin starts a process that the script's end kills.
func begin(ts *testscript.TestScript, name string, cmd *exec.Cmd, log io.Reader) *scriptServer {
	s := &scriptServer{cmd: cmd, lines: make(chan string, 1000), ended: make(chan struct{})}
	cmd.Dir = ts.MkAbs(".")
	ts.Check(cmd.Start())
	servers(ts)[name] = s
	go func() { // ends with the process
		for in := bufio.NewScanner(log); in.Scan(); {
			s.lines <- in.Text()
		}
		close(s.lines)
		_ = s.cmd.Wait() // its state says it all
		close(s.ended)
	}()
	ts.Defer(func() {
		_ = s.cmd.Process.Kill() // it may have ended
		for range s.lines {
		}
		<-s.ended
	})
	return s
}

// scriptEnv is the environment of a script without the addresses of the servers
// it has.
func scriptEnv(ts *testscript.TestScript) []string {
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "TZ", "GORACE", "GOCOVERDIR", "KVD_WAL_FILE_SIZE", "KVD_WAL_MAX_SIZE", "KVD_RESERVE_SIZE", "NOTIFY_SOCKET"} {
		if v := ts.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// waitFor returns the next line of the log that holds the text.
func (s *scriptServer) waitFor(ts *testscript.TestScript, text string) string {
	for line := range s.lines {
		s.seen = append(s.seen, line)
		if strings.Contains(line, text) {
			return line
		}
	}
	ts.Fatalf("the server ended without a line that holds %s; its log:\n%s", text, strings.Join(s.seen, "\n"))
	return ""
}

func cmdSignal(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, "signal NAME SIGNAL", 2, 2)
	signals := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP, "KILL": syscall.SIGKILL}
	ts.Check(find(ts, args[0]).cmd.Process.Signal(signals[args[1]]))
}

func cmdWaitExit(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, "wait-exit NAME CODE", 2, 2)
	s := find(ts, args[0])
	for line := range s.lines {
		s.seen = append(s.seen, line)
	}
	<-s.ended
	if got := s.cmd.ProcessState.ExitCode(); fmt.Sprint(got) != args[1] {
		ts.Fatalf("server %s ended with %d, not %s; its log:\n%s", args[0], got, args[1], strings.Join(s.seen, "\n"))
	}
}

func cmdWaitLog(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, "wait-log NAME TEXT", 2, 2)
	s := find(ts, args[0])
	if i := slices.IndexFunc(s.early, func(line string) bool { return strings.Contains(line, args[1]) }); i >= 0 {
		s.early = s.early[i+1:]
		return
	}
	s.early = nil
	ts.Logf("%s", s.waitFor(ts, args[1]))
}

func cmdReads(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, "reads NAME TEXT", 2, 2)
	s := find(ts, args[0])
	line, ok := <-s.lines
	if s.seen = append(s.seen, line); !ok || !strings.Contains(line, args[1]) {
		ts.Fatalf("the next line does not hold %s:\n%s", args[1], strings.Join(s.seen, "\n"))
	}
}

func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, "exits CODE COMMAND [ARG...]", 2, -1)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := err.(*exec.ExitError)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if fmt.Sprint(got) != args[0] {
		ts.Fatalf("it exits with %d, not %s", got, args[0])
	}
}

func cmdFlip(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, "flip FILE OFFSET", 2, 2)
	found, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(found) == 0 {
		ts.Fatalf("no file is named %s", args[0])
	}
	offset, err := strconv.ParseInt(args[1], 0, 64)
	ts.Check(err)
	content, err := os.ReadFile(found[0])
	ts.Check(err)
	content[offset] ^= 1
	ts.Check(os.WriteFile(found[0], content, 0o600))
}

func cmdDoubt(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, "doubt DIR BUCKET", 2, 2)
	ts.Check(damage.Doubt(nil, ts.MkAbs(args[0]), args[1], damage.Example()))
}

func cmdHoldPort(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, "hold-port VAR", 1, 1)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Defer(func() { l.Close() })
	ts.Setenv(args[0], l.Addr().String())
}

func cmdBytes(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, "bytes FILE HEX [N]", 2, 3)
	content, err := hex.DecodeString(args[1])
	ts.Check(err)
	times := 1
	if len(args) == 3 {
		times, err = strconv.Atoi(args[2])
		ts.Check(err)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), bytes.Repeat(content, times), 0o600))
}

// cmdCertificate makes a certificate that is its own authority.
func cmdCertificate(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, neg, args, "certificate NAME", 1, 1)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: args[0]},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	ts.Check(err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	for name, block := range map[string]*pem.Block{
		args[0] + ".crt": {Type: "CERTIFICATE", Bytes: cert},
		args[0] + ".key": {Type: "PRIVATE KEY", Bytes: secret},
	} {
		ts.Check(os.WriteFile(ts.MkAbs(name), pem.EncodeToMemory(block), 0o600))
	}
}

func cmdFetch(ts *testscript.TestScript, neg bool, args []string) {
	arguments(ts, false, args, "[!] fetch PATH", 1, 1)
	response, err := http.Get("http://" + ts.Getenv("KVD_ADMIN") + args[0])
	ts.Check(err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	ts.Check(err)
	if ok := response.StatusCode == http.StatusOK; ok == neg {
		ts.Fatalf("the answer is %s: %s", response.Status, body)
	}
	_, err = ts.Stdout().Write(body)
	ts.Check(err)
}
