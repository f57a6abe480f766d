package nats

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"kvd/bucket"
	"kvd/server"
	"kvd/server/nats/streamconfig"
)

// While its subjects change, a stream captures the subjects that it has before and after
// the change.
func TestAnUpdatedStreamCaptures(t *testing.T) {
	var p messageStreams
	const name = streamconfig.MessageStreamPrefix + "S"
	lists := [][]string{{"a.>"}, {"a.>", "b"}, {"c", "a.*"}}
	p.set(name, lists[0])
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(done)
		for n := range 20_000 {
			p.set(name, lists[n%len(lists)])
		}
	})
	for missed := 0; ; {
		if got := p.capturing(nil, []byte("a.b")); len(got) == 0 || got[0] != name {
			missed++
		}
		select {
		case <-done:
			wg.Wait()
			if missed > 0 {
				t.Errorf("%d times the subject was not captured", missed)
			}
			for subject, want := range map[string]int{"a.b": 1, "b": 1, "a.b.c": 1, "c": 0} {
				if got := p.capturing(nil, []byte(subject)); len(got) != want {
					t.Errorf("%s is captured by %q, want %d", subject, got, want)
				}
			}
			return
		default:
		}
	}
}

// The subjects of a stream are free after kvd's own tools deleted its bucket.
func TestAStreamDeletedBehindTheFrontEnd(t *testing.T) {
	store, err := bucket.Open(t.TempDir(), bucket.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, addr := listen(t, store, store, server.Options{})
	p := dial(t, addr)
	exchange(t, p, `> CONNECT {"verbose":false,"headers":true,"no_responders":true}`, "> SUB i 1")
	create := func(name string) {
		t.Helper()
		exchange(t, p, fmt.Sprintf(`> PUB $JS.API.STREAM.CREATE.%[1]s i {n}\r\n{"name":"%[1]s","subjects":["s.*"]}`, name))
		if got := p.next(t); !strings.Contains(got, `"did_create":true`) {
			t.Errorf("create %s: %s", name, got)
		}
		exchange(t, p, `> PUB s.a i {n}\r\nx`, fmt.Sprintf(`< MSG i 1 {n}\r\n{"stream":"%s","seq":1}`, name))
	}
	for _, name := range []string{"S", "S", "T"} {
		create(name)
		if err := store.DeleteBucket(t.Context(), streamconfig.MessageStreamPrefix+name); err != nil {
			t.Fatal(err)
		}
		exchange(t, p, `> PUB s.a i {n}\r\nx`, `< HMSG i 1 {h} {n}\r\nNATS/1.0 503\r\n\r\n`)
	}
}

// max_bytes counts as reserved with discard old and with discard new.
func TestWhatStreamsReserve(t *testing.T) {
	exchange(t, dial(t, serve(t, server.Options{})), `> CONNECT {"verbose":false,"headers":true}`, "> SUB i 1",
		`> PUB $JS.API.STREAM.CREATE.S i {n}\r\n{"name":"S","subjects":["s"],"max_bytes":1000}`, "< MSG…",
		`> PUB $JS.API.STREAM.CREATE.T i {n}\r\n{"name":"T","subjects":["t"],"max_bytes":2000,"discard":"new"}`, "< MSG…",
		`> PUB $JS.API.STREAM.CREATE.U i {n}\r\n{"name":"U","subjects":["u"],"max_bytes":4000,"storage":"memory"}`, "< MSG…",
		`> PUB $JS.API.INFO i {n}\r\n`,
		`< MSG i 1 {n}\r\n{"type":"io.nats.jetstream.api.v1.account_info_response","memory":0,"storage":0,"reserved_memory":4000,"reserved_storage":3000,"streams":3,…`)
}
