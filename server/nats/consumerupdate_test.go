package nats

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"kvd/server"
)

// A consumer is updated while messages are published and delivered: each message of the filters
// comes once, in order, whichever configuration there is.
func TestUpdatesBesideDeliveries(t *testing.T) {
	const messages, updates = 3000, 200
	addr := serve(t, server.Options{})
	admin, writer, reader := dial(t, addr), dial(t, addr), dial(t, addr)
	for _, p := range []*peer{admin, writer} {
		p.send(t, connect, false)
	}
	answerTo(t, admin, "$JS.API.STREAM.CREATE.S", "", `{"name":"S","subjects":["s.>"]}`)
	configure := func(n int) string {
		filters := [...]string{`["s.a","s.b"]`, `["s.>"]`, `["s.*"]`}[n%3]
		return fmt.Sprintf(`{"stream_name":"S","config":{"name":"c","ack_policy":"none","deliver_subject":"to","description":"%d","filter_subjects":%s}}`, n, filters)
	}
	reader.send(t, "CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB to 1\r\n", false)
	if got := answerTo(t, admin, "$JS.API.CONSUMER.CREATE.S.c", "", configure(0)); strings.Contains(got, "error") {
		t.Fatal(got)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := range messages {
			writer.send(t, fmt.Sprintf("PUB s.%c 1\r\nx\r\n", "ab"[n%2]), false)
		}
	})
	wg.Go(func() {
		for n := range updates {
			if got := answerTo(t, admin, "$JS.API.CONSUMER.CREATE.S.c", "", configure(n)); strings.Contains(got, "error") {
				t.Errorf("update %d: %s", n, got)
			}
		}
	})
	for n := range messages {
		want := fmt.Sprintf("MSG s.%c 1 $JS.ACK.S.c.1.%d.%d.", "ab"[n%2], n+1, n+1)
		if got := reader.next(t); !strings.HasPrefix(got, want) {
			t.Fatalf("got %s, want %s", got, want)
		}
	}
	wg.Wait()
}
