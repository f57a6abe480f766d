package nats

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kvd/server"
)

// inBubble runs a test with a client of a new server that has the message stream S, where
// time passes when everything waits.
func inBubble(t *testing.T, test func(t *testing.T, p *peer)) {
	synctest.Test(t, func(t *testing.T) {
		srv, front, store := prepare(t)
		client, own := net.Pipe()
		srv.ServeConn(own)
		p := greeted(t, client)
		p.send(t, connect, false)
		test(t, p)
		client.Close()
		if err := errors.Join(srv.Shutdown(t.Context()), front.Close(t.Context()), store.Close()); err != nil {
			t.Error(err)
		}
	})
}

// isThere reports whether the consumer c of S exists.
func isThere(t *testing.T, p *peer) bool {
	t.Helper()
	return !strings.Contains(answerTo(t, p, "$JS.API.CONSUMER.INFO.S.c", "", ""), "consumer not found")
}

// A pull consumer ends with its inactive_threshold: after its last request, the expiry of one
// that waited, or the time of a message to be acknowledged.
func TestAPullConsumerIsInactive(t *testing.T) {
	for _, c := range []struct {
		name, config, request string
		ends                  time.Duration
	}{
		{"without a request", `"ack_policy":"none"`, "", 10 * time.Second},
		{"with a durable name", `"ack_policy":"all","durable_name":"c"`, "", 10 * time.Second},
		{"after a request", `"ack_policy":"none","deliver_policy":"new"`, `{"batch":1,"no_wait":true}`, 10 * time.Second},
		{"after an expiry", `"ack_policy":"none","deliver_policy":"new"`, `{"batch":1,"expires":7000000000}`, 17 * time.Second},
		{"after the default", `"ack_policy":"none","inactive_threshold":0`, "", 5 * time.Second},
		{"after the time to acknowledge", `"ack_policy":"explicit","ack_wait":4000000000`, `{"batch":1}`, 14 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, p *peer) {
				answerTo(t, p, "s.x", "", "v")
				config := c.config
				if !strings.Contains(config, "inactive_threshold") {
					config += `,"inactive_threshold":10000000000`
				}
				if answer := answerTo(t, p, "$JS.API.CONSUMER.CREATE.S.c", "", `{"stream_name":"S","config":{`+config+`}}`); strings.Contains(answer, "error") {
					t.Fatal(answer)
				}
				if c.request != "" {
					p.send(t, fmt.Sprintf("PUB $JS.API.CONSUMER.MSG.NEXT.S.c d %d\r\n%s\r\n", len(c.request), c.request), false)
					p.next(t) // the message or a status, after which the threshold counts
				}
				start := time.Now()
				if strings.Contains(c.request, "expires") {
					start = start.Add(-7 * time.Second)
				}
				pass(time.Until(start.Add(c.ends - time.Millisecond)))
				if !isThere(t, p) {
					t.Error("it ended too early")
				}
				pass(2 * time.Millisecond)
				if isThere(t, p) {
					t.Error("it did not end")
				}
			})
		})
	}
}

// A message comes again when its time to be acknowledged is over, at the times of backoff, and
// a request that waits gets it.
func TestRedeliveryTimes(t *testing.T) {
	inBubble(t, func(t *testing.T, p *peer) {
		answerTo(t, p, "s.x", "", "v")
		answerTo(t, p, "$JS.API.CONSUMER.CREATE.S.c", "", `{"stream_name":"S","config":{"deliver_policy":"last","ack_policy":"explicit","backoff":[1000000000,3000000000],"max_deliver":4,"inactive_threshold":100000000000}}`)
		start := time.Now()
		ask := `{"batch":10,"expires":50000000000}`
		p.send(t, fmt.Sprintf("PUB $JS.API.CONSUMER.MSG.NEXT.S.c d %d\r\n%s\r\n", len(ask), ask), false)
		for n, after := range []time.Duration{0, time.Second, 4 * time.Second, 7 * time.Second} {
			line := p.next(t)
			if want := fmt.Sprintf("MSG s.x 2 $JS.ACK.S.c.%d.", n+1); !strings.HasPrefix(line, want) {
				t.Fatalf("got %s, want %s", line, want)
			}
			if took := time.Since(start); took != after {
				t.Errorf("delivery %d came after %v, not %v", n+1, took, after)
			}
		}
		if line := p.next(t); !strings.Contains(line, `408 Request Timeout\r\nNats-Pending-Messages: 6\r\n`) || time.Since(start) != 50*time.Second {
			t.Errorf("after %v got %s", time.Since(start), line)
		}
		if info := answerTo(t, p, "$JS.API.CONSUMER.INFO.S.c", "", ""); !strings.Contains(info, `"num_ack_pending":0`) {
			t.Error(info)
		}
	})
}

// pass lets time pass in a bubble.
func pass(d time.Duration) { <-time.After(d) }

// A durable push consumer does not end without a subscription.
func TestADurableConsumerIsNotRemoved(t *testing.T) {
	inBubble(t, func(t *testing.T, p *peer) {
		answerTo(t, p, "$JS.API.CONSUMER.CREATE.S.c", "", `{"stream_name":"S","config":{"durable_name":"c","ack_policy":"none","deliver_subject":"to.c","idle_heartbeat":1000000000}}`)
		p.send(t, "SUB to.c 9\r\nUNSUB 9\r\n", false)
		pass(100 * time.Second) // the third ping would end the connection
		if !isThere(t, p) {
			t.Error("it ended")
		}
	})
}

// A user who may get and not watch gets the messages that were there alone, and nobody asks
// the consumer of another user.
func TestPullPermissions(t *testing.T) {
	addr := serve(t, server.Options{Users: users(t)})
	root, bob := dial(t, addr), dial(t, addr)
	exchange(t, root, `> CONNECT {"verbose":false,"headers":true,"no_responders":true,"user":"root","pass":"toor"}`, "> SUB i 1", "> SUB d 2",
		`> PUB $JS.API.STREAM.CREATE.KV_b i {n}\r\n{"name":"KV_b","subjects":["$KV.b.>"],"max_msgs_per_subject":1}`, "< MSG i 1 {n}\\r\\n…",
		`> PUB $KV.b.k i 1\r\nv`, "< MSG i 1 {n}\\r\\n…")
	exchange(t, bob, `> CONNECT {"verbose":false,"headers":true,"no_responders":true,"user":"bob","pass":"bob"}`, "> SUB i 1", "> SUB d 2",
		`> PUB $JS.API.CONSUMER.CREATE.KV_b.c i {n}\r\n{"stream_name":"KV_b","config":{"ack_policy":"none","inactive_threshold":60000000000}}`, `< MSG i 1 {n}\r\n{"type":"io.nats.jetstream.api.v1.consumer_create_response","stream_name"…`)
	exchange(t, root, `> PUB $KV.b.l i 1\r\nw`, "< MSG i 1 {n}\\r\\n…",
		`> PUB $JS.API.CONSUMER.MSG.NEXT.KV_b.c d 0\r\n`, `< HMSG d 2 16 16\r\nNATS/1.0 503\r\n\r\n`)
	exchange(t, bob, `> PUB $JS.API.CONSUMER.MSG.NEXT.KV_b.c d {n}\r\n{"batch":5,"no_wait":true}`,
		`< MSG $KV.b.k 2 $JS.ACK.KV_b.c.1.1.1.…`, `< HMSG d 2 28 28\r\nNATS/1.0 404 No Messages\r\n\r\n`)
}
