package conformance_test

import (
	"bufio"
	"encoding/json"
	"errors"
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
	addr string // of the NATS port
	line string // of the line protocol; "off" unless a flag switches it on
}

// startDaemon starts kvd on a directory, with more flags, and waits until it serves.
func startDaemon(t *testing.T, kvd, dir, addr string, flags ...string) *daemon {
	t.Helper()
	flags = append([]string{"serve", "--data", dir, "--nats", addr, "--listen", "", "--admin", "", "--log-format", "json"}, flags...)
	cmd := exec.Command(kvd, flags...)
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
		var line struct{ Msg, NATS, Listen string }
		if json.Unmarshal(in.Bytes(), &line) == nil && line.Msg == "serving" {
			d.addr, d.line = line.NATS, line.Listen
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

// buildDaemon builds kvd with more flags of go build.
func buildDaemon(t *testing.T, flags ...string) (kvd string) {
	t.Helper()
	kvd = filepath.Join(t.TempDir(), "kvd")
	build := exec.Command("go", append(append([]string{"build", "-o", kvd}, flags...), "./cmd/kvd")...)
	build.Dir = filepath.Join("..", "..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return kvd
}

// kill kills the process. A second time it does nothing.
func (d *daemon) kill() {
	_ = d.cmd.Process.Kill() // it may have ended
	_ = d.cmd.Wait()
}

// killed is kvd as a process that is killed now and then, and nats.go's client of it.
type killed struct {
	*daemon
	kvd, dir string
	js       js.JetStream
}

func startKilled(t *testing.T) *killed {
	t.Helper()
	k := &killed{kvd: buildDaemon(t), dir: filepath.Join(t.TempDir(), "data")}
	k.daemon = startDaemon(t, k.kvd, k.dir, "127.0.0.1:0")
	conn, err := nats.Connect("nats://"+k.addr, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	if k.js, err = js.New(conn); err != nil {
		t.Fatal(err)
	}
	return k
}

const writers, each, kills = 8, 400, 3

// publish publishes writers*each messages to subjects that begin so, from many
// goroutines, each until it is acknowledged, while the server is killed, and returns
// their sequences.
func (k *killed) publish(t *testing.T, prefix string) map[string]uint64 {
	var acked struct {
		sync.Mutex
		sequences map[string]uint64
		more      sync.Cond
	}
	acked.sequences = map[string]uint64{}
	acked.more.L = &acked.Mutex
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			for n := 0; n < each; {
				key := fmt.Sprintf("k%d.%d", i, n)
				ack, err := k.js.Publish(t.Context(), prefix+key, []byte(key), js.WithMsgID(key))
				if err != nil { // the outcome is unknown: the same again
					continue
				}
				acked.Lock()
				acked.sequences[key] = ack.Sequence
				acked.more.Broadcast()
				acked.Unlock()
				n++
			}
		})
	}
	for n := range kills {
		acked.Lock()
		for len(acked.sequences) < (n+1)*writers*each/(kills+1) {
			acked.more.Wait()
		}
		acked.Unlock()
		k.kill()
		k.daemon = startDaemon(t, k.kvd, k.dir, k.addr)
	}
	wg.Wait()
	return acked.sequences
}

// TestKilledServer kills the server several times while writers of nats.go write and a
// watcher watches. Each acknowledged message is stored once, although writers repeat
// messages without an acknowledgement, and the watcher sees all of them.
func TestKilledServer(t *testing.T) {
	t.Parallel() // much of it is the client's waiting for heartbeats
	k := startKilled(t)
	ctx := t.Context()
	values, err := k.js.CreateKeyValue(ctx, js.KeyValueConfig{Bucket: "b"})
	if err != nil {
		t.Fatal(err)
	}
	w, err := values.WatchAll(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	acked := k.publish(t, "$KV.b.")

	seen := map[string]uint64{}
	timeout := time.After(2 * time.Minute)
	for missing := true; missing; {
		select {
		case e := <-w.Updates():
			if e != nil {
				seen[e.Key()] = e.Revision()
			}
		case <-timeout:
			t.Fatalf("the watcher has seen %d keys of %d", len(seen), len(acked))
		}
		missing = len(seen) < len(acked)
		for key, rev := range acked {
			if missing = missing || seen[key] < rev; missing {
				break
			}
		}
	}
	for key, rev := range acked {
		e, err := values.Get(ctx, key)
		if err != nil || string(e.Value()) != key || e.Revision() < rev {
			t.Fatalf("%s, acknowledged at revision %d, is %v: %v", key, rev, e, err)
		}
	}
	if info, err := k.js.Stream(ctx, "KV_b"); err != nil || info.CachedInfo().State.LastSeq != writers*each {
		t.Errorf("the stream is %+v, want %d messages: %v", info.CachedInfo().State, writers*each, err)
	}
	keys, err := values.Keys(ctx)
	if err != nil || len(keys) != writers*each {
		t.Errorf("%d keys are listed: %v", len(keys), err)
	}
}

// TestKilledServerOfAMessageStream is the same with a message stream that keeps the newest
// half.
func TestKilledServerOfAMessageStream(t *testing.T) {
	t.Parallel()
	k := startKilled(t)
	ctx := t.Context()
	const kept = writers * each / 2
	if _, err := k.js.CreateStream(ctx, js.StreamConfig{Name: "S", Subjects: []string{"s.>"}, MaxMsgs: kept}); err != nil {
		t.Fatal(err)
	}
	acked := k.publish(t, "s.")
	s, err := k.js.Stream(ctx, "S")
	if err != nil {
		t.Fatal(err)
	}
	if st := s.CachedInfo().State; st.LastSeq != writers*each || st.Msgs != kept || st.FirstSeq != kept+1 || st.NumSubjects != kept {
		t.Errorf("the stream is %+v", st)
	}
	for key, seq := range acked {
		m, err := s.GetMsg(ctx, seq)
		if seq <= kept && !errors.Is(err, js.ErrMsgNotFound) || seq > kept && (err != nil || m.Subject != "s."+key || string(m.Data) != key) {
			t.Fatalf("message %d of %s is %+v: %v", seq, key, m, err)
		}
	}
}

// TestKilledServerOfOrderedConsumers is the same with ordered consumers, one of every message
// and one of a writer's. Each gets its messages once and in order.
func TestKilledServerOfOrderedConsumers(t *testing.T) {
	t.Parallel()
	k := startKilled(t)
	ctx := t.Context()
	s, err := k.js.CreateStream(ctx, js.StreamConfig{Name: "S", Subjects: []string{"s.>"}})
	if err != nil {
		t.Fatal(err)
	}
	consume := func(filter string) js.MessagesContext {
		c, err := s.OrderedConsumer(ctx, js.OrderedConsumerConfig{FilterSubjects: []string{filter}})
		if err != nil {
			t.Fatal(err)
		}
		messages, err := c.Messages()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(messages.Stop)
		return messages
	}
	all, some := consume("s.>"), consume("s.k3.*")
	acked := k.publish(t, "s.")

	next := func(from js.MessagesContext) (key string, sequence uint64) {
		m, err := from.Next(js.NextMaxWait(2 * time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		meta, err := m.Metadata()
		if err != nil || m.Subject() != "s."+string(m.Data()) {
			t.Fatalf("%s has %q: %v", m.Subject(), m.Data(), err)
		}
		return string(m.Data()), meta.Sequence.Stream
	}
	for n := range uint64(writers * each) {
		key, sequence := next(all)
		if want, ok := acked[key]; sequence != n+1 || ok && want != sequence {
			t.Fatalf("message %d has sequence %d; %s was acknowledged as %d", n+1, sequence, key, want)
		}
	}
	for n := range each {
		want := fmt.Sprintf("k3.%d", n)
		if key, sequence := next(some); key != want || sequence != acked[key] {
			t.Fatalf("%s comes with sequence %d, want %s with %d", key, sequence, want, acked[want])
		}
	}
}
