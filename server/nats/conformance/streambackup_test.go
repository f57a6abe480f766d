package conformance_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jsm.go"
	"github.com/nats-io/jsm.go/api"
	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	natsfront "kvd/server/nats"
)

// streamBackup is what the CLI writes to the files of a backup.
type streamBackup struct{ data, meta []byte }

// backUp takes the backup of a stream as nats backup stream does.
func backUp(t *testing.T, conn *nats.Conn, stream string, opts ...jsm.SnapshotOption) streamBackup {
	t.Helper()
	s, err := manager(t, conn).LoadStream(stream)
	if err != nil {
		t.Fatal(err)
	}
	var data, meta closableBuffer
	if _, err := s.SnapshotToBuffer(t.Context(), &data, &meta, append(opts, jsm.SnapshotChunkSize(1024), jsm.SnapshotWindowSize(8192))...); err != nil {
		t.Fatal(err)
	}
	return streamBackup{data.Bytes(), meta.Bytes()}
}

// restore restores a backup as nats backup restore stream does.
func (b streamBackup) restore(t *testing.T, conn *nats.Conn, stream string) error {
	t.Helper()
	_, err := manager(t, conn).RestoreSnapshotFromBuffer(t.Context(), stream, io.NopCloser(bytes.NewReader(b.data)), io.NopCloser(bytes.NewReader(b.meta)))
	return err
}

func manager(t *testing.T, conn *nats.Conn) *jsm.Manager {
	t.Helper()
	m, err := jsm.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// closableBuffer is a buffer that jsm can close.
type closableBuffer struct{ bytes.Buffer }

func (*closableBuffer) Close() error { return nil }

// fillStreams makes a bucket with a history, deletes, purges, TTLs and gaps, and a stream.
func fillStreams(t *testing.T, conn *nats.Conn) {
	t.Helper()
	ctx := t.Context()
	j, err := js.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	b, err := j.CreateKeyValue(ctx, js.KeyValueConfig{Bucket: "b", History: 3, LimitMarkerTTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.CreateStream(ctx, js.StreamConfig{Name: "S", Subjects: []string{"s.>"}}); err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		key := fmt.Sprint("k.", i%20)
		_, putErr := b.PutString(ctx, key, strings.Repeat(key, i))
		_, publishErr := j.PublishMsg(ctx, &nats.Msg{Subject: "s." + key, Header: nats.Header{"X": {"y", key}}, Data: []byte(key)})
		if err := errors.Join(putErr, publishErr); err != nil {
			t.Fatal(err)
		}
	}
	_, createErr := b.Create(ctx, "ttl", []byte("v"), js.KeyTTL(time.Hour))
	err = errors.Join(createErr, b.Delete(ctx, "k.3"), b.Purge(ctx, "k.4"), b.Purge(ctx, "k.5", js.PurgeTTL(2*time.Hour)))
	if err == nil {
		var kvStream js.Stream
		if kvStream, err = j.Stream(ctx, "KV_b"); err == nil {
			err = kvStream.Purge(ctx, js.WithPurgeSubject("$KV.b.ttl2"))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}

// messagesOf returns all messages of a stream, as text, and its last sequence.
func messagesOf(t *testing.T, conn *nats.Conn, stream string) []string {
	t.Helper()
	s, err := manager(t, conn).LoadStream(stream)
	if err != nil {
		t.Fatal(err)
	}
	state, err := s.State()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for seq := uint64(1); seq <= state.LastSeq; seq++ {
		m, err := s.ReadMessage(seq)
		if jsm.IsNatsError(err, 10037) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		header := string(m.Header)
		if strings.Contains(header, "PURGE") && strings.Count(header, "\r\n") == 4 { // nats.go writes its fields in any order
			header = "purge"
		}
		all = append(all, fmt.Sprintf("%d %s %q %q %s", m.Sequence, m.Subject, header, m.Data, m.Time.UTC().Format(time.RFC3339Nano)))
	}
	return append(all, fmt.Sprintf("last sequence %d", state.LastSeq))
}

// The backup of a stream of kvd restores into nats-server and into kvd, and one of nats-server
// into kvd: sequences, subjects, headers, values and times are the same, and so is the next
// sequence.
func TestStreamBackups(t *testing.T) {
	ours := func() *nats.Conn { return start(t, t.TempDir(), natsfront.Options{}).conn }
	for name, pair := range map[string]struct{ from, to *nats.Conn }{
		"kvd to kvd":         {ours(), ours()},
		"kvd to nats-server": {ours(), startNATS(t)},
		"nats-server to kvd": {startNATS(t), ours()},
	} {
		t.Run(name, func(t *testing.T) {
			fillStreams(t, pair.from)
			for _, stream := range []string{"KV_b", "S"} {
				if err := backUp(t, pair.from, stream).restore(t, pair.to, stream); err != nil {
					t.Fatalf("%s: %v", stream, err)
				}
				want, got := messagesOf(t, pair.from, stream), messagesOf(t, pair.to, stream)
				for i := range max(len(want), len(got)) {
					if i >= len(want) || i >= len(got) || want[i] != got[i] {
						t.Fatalf("%s: message %d of %d and %d differs:\n%.300s\nwant\n%.300s", stream, i, len(got), len(want), got[min(i, len(got)-1)], want[min(i, len(want)-1)])
					}
				}
			}
			goesOn(t, pair.to)
		})
	}
}

// goesOn checks that a restored bucket takes an update of its last revision, and refuses another.
func goesOn(t *testing.T, conn *nats.Conn) {
	t.Helper()
	ctx := t.Context()
	j, err := js.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	b, err := j.KeyValue(ctx, "b")
	if err != nil {
		t.Fatal(err)
	}
	e, err := b.Get(ctx, "k.7")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Update(ctx, "k.7", []byte("new"), e.Revision()); err != nil {
		t.Error(err)
	}
	if _, err := b.Update(ctx, "k.7", []byte("newer"), e.Revision()); err == nil {
		t.Error("an update of an old revision is stored")
	}
}

// A backup of nats-server with a durable consumer is refused by name. Without it, and with an
// ephemeral one, the backup is restored.
func TestStreamBackupWithConsumers(t *testing.T) {
	theirs, ours := startNATS(t), start(t, t.TempDir(), natsfront.Options{}).conn
	fillStreams(t, theirs)
	m := manager(t, theirs)
	if _, err := m.NewConsumer("S", jsm.AcknowledgeExplicit(), jsm.InactiveThreshold(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := backUp(t, theirs, "S", jsm.SnapshotConsumers()).restore(t, ours, "S"); err != nil {
		t.Errorf("with an ephemeral consumer: %v", err)
	}
	if _, err := m.NewConsumer("KV_b", jsm.DurableName("d"), jsm.AcknowledgeExplicit()); err != nil {
		t.Fatal(err)
	}
	b := backUp(t, theirs, "KV_b", jsm.SnapshotConsumers())
	if err := b.restore(t, ours, "KV_b"); err == nil || !strings.Contains(err.Error(), "--no-consumers") {
		t.Errorf("with a durable consumer: %v", err)
	}
	if err := backUp(t, theirs, "KV_b").restore(t, ours, "KV_b"); err != nil {
		t.Errorf("without consumers: %v", err)
	}
}

// A backup that is taken while others write has the messages of one moment, or fails.
func TestStreamBackupWhileOthersWrite(t *testing.T) {
	from, to := start(t, t.TempDir(), natsfront.Options{}), start(t, t.TempDir(), natsfront.Options{})
	fillStreams(t, from.conn)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		b, err := from.engine.Bucket(ctx, "b")
		for i := 0; err == nil && ctx.Err() == nil; i++ {
			_, err = b.PutString(ctx, fmt.Sprint("k.", i%20), "newer")
		}
	}()
	b := backUp(t, from.conn, "KV_b")
	stop()
	<-done
	var meta struct {
		State api.StreamState `json:"state"`
	}
	if err := json.Unmarshal(b.meta, &meta); err != nil {
		t.Fatal(err)
	}
	if err := b.restore(t, to.conn, "KV_b"); err != nil {
		t.Fatal(err)
	}
	if got := messagesOf(t, to.conn, "KV_b"); uint64(len(got)-1) != meta.State.Msgs {
		t.Errorf("the backup has %d messages, its state says %d", len(got)-1, meta.State.Msgs)
	}
}

// The stock CLI restores into one server what it has backed up from the other.
func TestStreamBackupsOfTheCLI(t *testing.T) {
	cli, home := buildCLI(t), t.TempDir()
	ours, theirs := start(t, t.TempDir(), natsfront.Options{}).conn, startNATS(t)
	command := func(conn *nats.Conn, line string) {
		t.Helper()
		s := &script{t: t, url: conn.ConnectedUrl(), path: filepath.Dir(cli), home: home}
		cmd := s.command(line)
		cmd.Dir = home
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
	fillStreams(t, ours)
	command(ours, "nats backup stream KV_b ours --no-progress")
	want := messagesOf(t, ours, "KV_b")
	command(theirs, "nats backup restore stream ours --no-progress")
	command(theirs, "nats backup stream KV_b theirs --no-progress")
	command(ours, "nats stream rm KV_b -f")
	command(ours, "nats backup restore stream theirs --no-progress")
	if got := messagesOf(t, ours, "KV_b"); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%d messages came back, and are not the %d that left", len(got)-1, len(want)-1)
	}
}
