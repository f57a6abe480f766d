package nats

import (
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kvd/server"
)

// An operation that does not arrive in time ends the connection, with the reason.
func TestALateOperationEndsTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, front, store := prepare(t)
		client, own := net.Pipe()
		srv.ServeConn(own)
		start := time.Now()
		go io.WriteString(client, "PING\r\nPUB $KV.b.k 5\r\nab")
		all, err := io.ReadAll(client)
		if err != nil || !strings.HasSuffix(string(all), "PONG\r\n-ERR 'Operation Timeout'\r\n") {
			t.Errorf("%v: %q", err, all)
		}
		if took := time.Since(start); took < commandTime || took > commandTime+time.Second {
			t.Errorf("it ended after %v", took)
		}
		if err := errors.Join(srv.Shutdown(t.Context()), front.Close(t.Context()), store.Close()); err != nil {
			t.Error(err)
		}
	})
}

// deep is a subject of so many tokens, which shares only the first with others of its kind.
func deep(tokens, n int) string {
	return "deep." + strings.Repeat(fmt.Sprintf("%x.", n), tokens-2) + "end"
}

// A connection has the memory for some subscriptions of many tokens, and is told when it has
// no more. What it gives up, it may use again.
func TestSubscriptionsAreBoundedByTheirMemory(t *testing.T) {
	p := dial(t, serve(t, server.Options{}))
	p.send(t, "CONNECT {\"verbose\":false}\r\n", false)
	subscribed := func(n int) bool {
		p.send(t, fmt.Sprintf("SUB %s %d\r\nPING\r\n", deep(1300, n), n), false)
		line := p.next(t)
		if line == "PONG" {
			return true
		}
		if want := "-ERR 'maximum memory of subscriptions and consumers exceeded: 67108864 bytes'"; line != want {
			t.Fatalf("got %s, want %s", line, want)
		}
		if pong := p.next(t); pong != "PONG" {
			t.Fatalf("got %s", pong)
		}
		return false
	}
	n := 0
	for subscribed(n) {
		n++
	}
	if n < 100 || n > 150 {
		t.Errorf("there was memory for %d subscriptions of 1,300 tokens", n)
	}
	p.send(t, "UNSUB 3\r\n", false)
	if !subscribed(n) {
		t.Error("the memory of a subscription that ended is not free")
	}
	if subscribed(n + 1) {
		t.Error("there was memory for another one")
	}
}

// A request with many filters takes a bounded time and memory.
func TestConsumersAreBoundedByTheirMemory(t *testing.T) {
	p := dial(t, serve(t, server.Options{}))
	p.send(t, connect, false)
	answerTo(t, p, "$JS.API.STREAM.CREATE.KV_b", "", `{"name":"KV_b","subjects":["$KV.b.>"],"max_msgs_per_subject":1}`)
	create := func(name string, count int, filter func(int) string) string {
		filters := make([]string, count)
		for i := range filters {
			filters[i] = `"` + filter(i) + `"`
		}
		return answerTo(t, p, "$JS.API.CONSUMER.CREATE.KV_b."+name, "", consumerOf(`"filter_subjects":[`+strings.Join(filters, ",")+`]`))
	}
	plain := func(i int) string { return fmt.Sprintf("$KV.b.%d", i) }
	if answer := create("many", 30_000, plain); !strings.Contains(answer, `"num_pending":0`) {
		t.Fatalf("%.300s", answer)
	}
	if answer := create("more", 30_000, plain); !strings.Contains(answer, `"err_code":10026`) {
		t.Errorf("beyond the memory: %.300s", answer)
	}
	answerTo(t, p, "$JS.API.CONSUMER.DELETE.KV_b.many", "", "")
	if answer := create("more", 30_000, plain); !strings.Contains(answer, `"num_pending":0`) {
		t.Errorf("after a deletion: %.300s", answer)
	}
	hostile := func(i int) string {
		if i%2 == 0 {
			return fmt.Sprintf("$KV.b.%d.x", i)
		}
		return fmt.Sprintf("$KV.b.*.%d", i)
	}
	if answer := create("hostile", 30_000, hostile); !strings.Contains(answer, "30000 filter subjects are too many") {
		t.Errorf("many wildcards: %.300s", answer)
	}
}

// What is charged for subscriptions and consumers is at least what they take.
func TestChargesCoverTheMemory(t *testing.T) {
	subscribe := func(tokens int) func(*peer, int) {
		return func(p *peer, n int) { p.send(t, fmt.Sprintf("SUB %s %d\r\n", deep(tokens, n), n), false) }
	}
	filters := func(n int) []string { return []string{fmt.Sprintf("$KV.b.%d.x.>", n), fmt.Sprintf("$KV.b.%d.y", n)} }
	for _, tt := range []struct {
		name  string
		count int
		add   func(p *peer, n int)
		cost  int64
	}{
		{"subscriptions of 3 tokens", 1000, subscribe(3), costOf(deep(3, 1000))},
		{"subscriptions of 500 tokens", 100, subscribe(500), costOf(deep(500, 100))},
		{"consumers", 1000, func(p *peer, n int) {
			answerTo(t, p, fmt.Sprintf("$JS.API.CONSUMER.CREATE.KV_b.c%d", n), "", consumerOf(fmt.Sprintf(`"filter_subjects":["%s"]`, strings.Join(filters(n), `","`))))
		}, (&consumerConfig{Name: "c1000", DeliverSubject: "nobody", FilterSubjects: filters(1000)}).cost()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := dial(t, serve(t, server.Options{}))
			p.send(t, connect, false)
			answerTo(t, p, "$JS.API.STREAM.CREATE.KV_b", "", `{"name":"KV_b","subjects":["$KV.b.>"],"max_msgs_per_subject":1}`)
			tt.add(p, 100_000) // what is allocated once
			before := heap()
			for n := range tt.count {
				tt.add(p, n)
			}
			answerTo(t, p, "$JS.API.INFO", "", "")
			took, charged := heap()-before, int64(tt.count)*tt.cost
			t.Logf("%d took %d bytes, %d were charged", tt.count, took, charged)
			if took > charged {
				t.Errorf("%d bytes were charged for %d", charged, took)
			}
		})
	}
}

// heap returns the bytes of live objects.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
