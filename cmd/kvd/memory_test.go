package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kvd/client"
	"kvd/kv"
)

// process is a server in a process of its own.
type process struct {
	cmd        *exec.Cmd
	line, nats string // its addresses
}

// startProcess starts a server on a directory and waits until it serves.
func startProcess(t *testing.T, dir string) *process {
	t.Helper()
	cmd := exec.Command("kvd", "serve", "--data", dir, "--listen", "127.0.0.1:0", "--nats", "127.0.0.1:0", "--log-format", "json",
		"--wal-file-size", "64KiB", "--wal-max-size", "1MiB", "--reserve-size", "0")
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }) // it may have ended
	var seen []string
	for in := bufio.NewScanner(log); in.Scan(); {
		var serving struct{ Msg, Listen, NATS string }
		if json.Unmarshal(in.Bytes(), &serving) == nil && serving.Msg == "serving" {
			go func() { // ends with the process
				for in.Scan() {
				}
			}()
			return &process{cmd, serving.Listen, serving.NATS}
		}
		seen = append(seen, in.Text())
	}
	t.Fatalf("the server ended:\n%s", strings.Join(seen, "\n"))
	return nil
}

// end ends the process with a signal, and waits for it.
func (p *process) end(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Wait() // a killed process has no exit code
}

// natsPeer speaks NATS' protocol in text.
type natsPeer struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
	kept map[string][]string // by sid: messages that came while another was awaited
}

// dialNATS connects to a server. Answers come to the subject answers.
func dialNATS(t *testing.T, addr string) *natsPeer {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	p := &natsPeer{t, conn, bufio.NewReader(conn), map[string][]string{}}
	p.send("CONNECT {\"headers\":true}\r\nSUB answers 1\r\nSUB deliveries 2\r\n")
	return p
}

func (p *natsPeer) send(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p.conn, text); err != nil {
		p.t.Fatal(err)
	}
}

// ask sends a request, with a header if it is not empty, and returns the answer.
func (p *natsPeer) ask(subject, header, payload string) string {
	p.t.Helper()
	if header != "" {
		header = "NATS/1.0\r\n" + header + "\r\n\r\n"
		p.send(fmt.Sprintf("HPUB %s answers %d %d\r\n%s%s\r\n", subject, len(header), len(header)+len(payload), header, payload))
	} else {
		p.send(fmt.Sprintf("PUB %s answers %d\r\n%s\r\n", subject, len(payload), payload))
	}
	return p.message("answers")
}

// message returns the next message to the subscription of a subject: its first line and its
// payload. It keeps those of the other subscription: a delivery may come before the answer.
func (p *natsPeer) message(subscription string) string {
	p.t.Helper()
	sid := map[string]string{"answers": "1", "deliveries": "2"}[subscription]
	if kept := p.kept[sid]; len(kept) > 0 {
		p.kept[sid] = kept[1:]
		return kept[0]
	}
	for {
		line, err := p.in.ReadString('\n')
		if err != nil {
			p.t.Fatal(err)
		}
		f := strings.Fields(line)
		if len(f) < 4 || !strings.HasSuffix(f[0], "MSG") {
			continue
		}
		var size int
		if _, err := fmt.Sscan(f[len(f)-1], &size); err != nil {
			p.t.Fatal(err)
		}
		payload := make([]byte, size+len("\r\n"))
		if _, err := io.ReadFull(p.in, payload); err != nil {
			p.t.Fatal(err)
		}
		if f[2] == sid {
			return line + string(payload)
		}
		p.kept[f[2]] = append(p.kept[f[2]], line+string(payload))
	}
}

// revisionOf returns the revision in an answer to a write.
func revisionOf(t *testing.T, answer string) (revision kv.Revision) {
	t.Helper()
	var ack struct {
		Seq kv.Revision `json:"seq"`
	}
	_, body, _ := strings.Cut(answer, "\n")
	if err := json.Unmarshal([]byte(body), &ack); err != nil || ack.Seq == 0 {
		t.Fatalf("the write was refused: %s", answer)
	}
	return ack.Seq
}

// A bucket in memory is empty after a restart, and its revisions go on, whether the process
// was killed or not: what clients of both ports know of the life before is refused.
func TestRevisionsInMemoryGoOnAfterARestart(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		t.Run(signal.String(), func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			before := startProcess(t, dir)
			p := dialNATS(t, before.nats)
			if answer := p.ask("$JS.API.STREAM.CREATE.KV_b", "", `{"name":"KV_b","subjects":["$KV.b.>"],"max_msgs_per_subject":1,"storage":"memory"}`); strings.Contains(answer, "error") {
				t.Fatal(answer)
			}
			first := revisionOf(t, p.ask("$KV.b.k", "", "old"))
			told := revisionOf(t, p.ask("$KV.b.k", "", "older"))
			before.end(t, signal)

			after := startProcess(t, dir)
			p = dialNATS(t, after.nats)
			// The client's watch goes on as it does after a lost connection.
			create := fmt.Sprintf(`{"stream_name":"KV_b","config":{"deliver_policy":"by_start_sequence","opt_start_seq":%d,"ack_policy":"none","deliver_subject":"deliveries"}}`, told+1)
			if answer := p.ask("$JS.API.CONSUMER.CREATE.KV_b.watch", "", create); strings.Contains(answer, `"error"`) {
				t.Fatalf("a consumer from a sequence that is gone: %s", answer)
			}
			// Another client writes as often as the first did, so its revisions would match.
			var newest kv.Revision
			for range told {
				newest = revisionOf(t, p.ask("$KV.b.k", "", "new"))
				if newest <= told {
					t.Fatalf("revision %d is issued again; before the restart %d was told", newest, told)
				}
				if got := p.message("deliveries"); !strings.Contains(got, fmt.Sprintf(".1.%d.", newest)) {
					t.Fatalf("the watch got %q, want revision %d", got, newest)
				}
			}
			for _, stale := range []kv.Revision{first, told} {
				for _, header := range []string{"Nats-Expected-Last-Subject-Sequence: ", "Nats-Expected-Last-Sequence: "} {
					if answer := p.ask("$KV.b.k", fmt.Sprint(header, stale), "lost update"); !strings.Contains(answer, "10071") {
						t.Errorf("%s%d: %s", header, stale, answer)
					}
				}
			}

			c, err := client.Dial(t.Context(), after.line, client.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			b, err := c.Bucket(t.Context(), "b")
			if err != nil {
				t.Fatal(err)
			}
			if e, err := b.Get(t.Context(), "k"); err != nil || string(e.Value) != "new" || e.Revision != newest {
				t.Errorf("the key is %+v, %v", e, err)
			}
			if _, err := b.Update(t.Context(), "k", nil, told); !errors.Is(err, kv.ErrKeyRevisionMismatch) {
				t.Errorf("an update of revision %d: %v", told, err)
			}
			for _, from := range []kv.Revision{1, told, told + 1} {
				if _, err := b.Watch(t.Context(), nil, kv.ResumeFromRevision(from)); !errors.Is(err, kv.ErrCompacted) {
					t.Errorf("a watch from revision %d: %v", from, err)
				}
			}
			w, err := b.Watch(t.Context(), nil, kv.ResumeFromRevision(newest+1))
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
}
