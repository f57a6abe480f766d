package nats

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kvd/bucket"
	"kvd/kv"
)

// The position of a durable consumer is stored a second after its first delivery, so that a
// crash takes no more than that.
func TestADurablePositionIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, front, store := prepare(t)
		client, own := net.Pipe()
		srv.ServeConn(own)
		p := greeted(t, client)
		p.send(t, connect, false)
		stored := func() (at sequencePair) {
			b, err := store.Bucket(t.Context(), durablesBucket)
			if err != nil {
				t.Fatal(err)
			}
			e, err := b.Get(t.Context(), "_kvd_stream_S.c")
			if err != nil {
				t.Fatal(err)
			}
			var r durableRecord
			if err := json.Unmarshal(e.Value, &r); err != nil {
				t.Fatal(err)
			}
			return r.Delivered
		}
		if answer := answerTo(t, p, "$JS.API.CONSUMER.DURABLE.CREATE.S.c", "", `{"stream_name":"S","config":{"durable_name":"c","ack_policy":"none","deliver_subject":"to.c"}}`); strings.Contains(answer, "error") {
			t.Fatal(answer)
		}
		p.send(t, "SUB to.c 9\r\n", false)
		for range 2 { // prepare has published two messages
			p.next(t)
		}
		pass(durableInterval - time.Millisecond)
		if at := stored(); at != (sequencePair{0, 0}) {
			t.Errorf("%v is stored too early", at)
		}
		pass(2 * time.Millisecond)
		synctest.Wait()
		if at := stored(); at != (sequencePair{2, 2}) {
			t.Errorf("%v is stored", at)
		}
		client.Close()
		if err := errors.Join(srv.Shutdown(t.Context()), front.Close(t.Context()), store.Close()); err != nil {
			t.Error(err)
		}
	})
}

// A record that cannot be read keeps no front end from starting, and stays.
func TestADurableRecordThatIsBad(t *testing.T) {
	store, err := bucket.OpenMemory(bucket.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b, err := store.CreateBucket(t.Context(), kv.Config{Bucket: durablesBucket})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.PutString(t.Context(), "s.c", "{"); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	front, err := New(store, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	if text := log.String(); !strings.Contains(text, "durable consumer is not there") || !strings.Contains(text, "record=s.c") {
		t.Errorf("the log has %q", text)
	}
	if _, err := b.Get(t.Context(), "s.c"); err != nil {
		t.Error(err)
	}
	if err := errors.Join(front.Close(context.Background()), store.Close()); err != nil {
		t.Error(err)
	}
}
