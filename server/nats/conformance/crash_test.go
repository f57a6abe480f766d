package conformance_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"
)

// daemon is kvd as a process.
type daemon struct {
	cmd  *exec.Cmd
	addr string
}

// startDaemon starts kvd on a directory, and waits until it serves.
func startDaemon(t *testing.T, kvd, dir, addr string) *daemon {
	t.Helper()
	cmd := exec.Command(kvd, "serve", "--data", dir, "--nats", addr, "--listen", "", "--admin", "", "--log-format", "json")
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d := &daemon{cmd: cmd}
	t.Cleanup(d.kill)
	in := bufio.NewScanner(log)
	for in.Scan() {
		var line struct{ Msg, NATS string }
		if json.Unmarshal(in.Bytes(), &line) == nil && line.Msg == "serving" {
			d.addr = line.NATS
			go func() { // ends with the process
				for in.Scan() {
				}
			}()
			return d
		}
	}
	t.Fatalf("kvd ended: %v", cmd.Wait())
	return nil
}

// kill ends the process without a word. A second time it does nothing.
func (d *daemon) kill() {
	_ = d.cmd.Process.Kill() // it may have ended
	_ = d.cmd.Wait()
}

// TestKilledServer kills the server under nats.go's writers and a watcher, again and
// again. What was acknowledged is there, once, though writers repeat what was not; and
// the watcher sees all of it.
func TestKilledServer(t *testing.T) {
	kvd := filepath.Join(t.TempDir(), "kvd")
	build := exec.Command("go", "build", "-o", kvd, "./cmd/kvd")
	build.Dir = filepath.Join("..", "..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	dir := filepath.Join(t.TempDir(), "data")
	d := startDaemon(t, kvd, dir, "127.0.0.1:0")
	conn, err := nats.Connect("nats://"+d.addr, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	stream, err := js.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	values, err := stream.CreateKeyValue(ctx, js.KeyValueConfig{Bucket: "b"})
	if err != nil {
		t.Fatal(err)
	}
	w, err := values.WatchAll(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()

	const writers, each, kills = 8, 400, 3
	var acked struct {
		sync.Mutex
		revisions map[string]uint64
		more      sync.Cond
	}
	acked.revisions = map[string]uint64{}
	acked.more.L = &acked.Mutex
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for n := 0; n < each; {
				key := fmt.Sprintf("k%d.%d", i, n)
				ack, err := stream.Publish(ctx, "$KV.b."+key, []byte(key), js.WithMsgID(key))
				if err != nil { // the outcome is unknown: the same again
					continue
				}
				acked.Lock()
				acked.revisions[key] = ack.Sequence
				acked.more.Broadcast()
				acked.Unlock()
				n++
			}
		})
	}
	for n := range kills {
		acked.Lock()
		for len(acked.revisions) < (n+1)*writers*each/(kills+1) {
			acked.more.Wait()
		}
		acked.Unlock()
		d.kill()
		d = startDaemon(t, kvd, dir, d.addr)
	}
	wg.Wait()

	seen := map[string]uint64{}
	timeout := time.After(2 * time.Minute)
	for missing := true; missing; {
		select {
		case e := <-w.Updates():
			if e != nil {
				seen[e.Key()] = e.Revision()
			}
		case <-timeout:
			t.Fatalf("the watcher has seen %d keys of %d", len(seen), len(acked.revisions))
		}
		missing = len(seen) < len(acked.revisions)
		for key, rev := range acked.revisions {
			if missing = missing || seen[key] < rev; missing {
				break
			}
		}
	}
	for key, rev := range acked.revisions {
		e, err := values.Get(ctx, key)
		if err != nil || string(e.Value()) != key || e.Revision() < rev {
			t.Fatalf("%s, acknowledged at revision %d, is %v: %v", key, rev, e, err)
		}
	}
	if info, err := stream.Stream(ctx, "KV_b"); err != nil || info.CachedInfo().State.LastSeq != writers*each {
		t.Errorf("the stream is %+v, want %d messages: %v", info.CachedInfo().State, writers*each, err)
	}
	keys, err := values.Keys(ctx)
	if err != nil || len(keys) != writers*each {
		t.Errorf("%d keys are listed: %v", len(keys), err)
	}
}
