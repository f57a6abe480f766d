package nats

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"kvd/server"
)

// Publishers that fill a stream at the same time are refused when it is full, and not
// because of each other's messages before.
func TestAStreamIsFilledByMany(t *testing.T) {
	const (
		publishers, each = 24, 40
		limit            = publishers*each - 100
	)
	addr := serve(t, server.Options{})
	exchange(t, dial(t, addr), `> CONNECT {"verbose":false,"headers":true}`, "> SUB i 1",
		fmt.Sprintf(`> PUB $JS.API.STREAM.CREATE.S i {n}\r\n{"name":"S","subjects":["s.*"],"max_msgs":%d,"discard":"new"}`, limit), "< MSG…")
	var mu sync.Mutex
	answers := make(map[string]int)
	var wg sync.WaitGroup
	for n := range publishers {
		p := dial(t, addr)
		p.send(t, fmt.Sprintf("CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB i%d 1\r\n", n), false)
		wg.Go(func() {
			for range each {
				p.send(t, fmt.Sprintf("PUB s.a i%d 1\r\nx\r\n", n), false)
				_, answer, _ := strings.Cut(p.next(t), `{`)
				if strings.HasPrefix(answer, `"stream"`) {
					answer = "stored"
				}
				mu.Lock()
				answers[answer]++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	const full = `"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"},"stream":"S","seq":0}`
	if answers["stored"] != limit || answers[full] != publishers*each-limit {
		t.Errorf("want %d stored and the others refused, got %v", limit, answers)
	}
}

// Messages that are sent together fill a stream exactly, and each is acknowledged. Messages
// to other streams may stand between them.
func TestAStreamIsFilledAtOnce(t *testing.T) {
	p := dial(t, serve(t, server.Options{}))
	exchange(t, p, `> CONNECT {"verbose":false,"headers":true}`, "> SUB i 1",
		`> PUB $JS.API.STREAM.CREATE.S i {n}\r\n{"name":"S","subjects":["s"],"max_msgs":3,"discard":"new"}`, "< MSG…",
		`> PUB $JS.API.STREAM.CREATE.T i {n}\r\n{"name":"T","subjects":["t"]}`, "< MSG…")
	var sent strings.Builder
	var want []string
	for _, m := range []struct{ subject, headers, answer string }{
		{"t", "", `{"stream":"T","seq":1}`},
		{"s", "", `{"stream":"S","seq":1}`},
		{"s", "Nats-Expected-Last-Sequence: 7", `{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 1"},"stream":"S","seq":0}`},
		{"s", "Nats-Expected-Last-Subject-Sequence: 1", `{"stream":"S","seq":2}`},
		{"t", "", `{"stream":"T","seq":2}`},
		{"s", "Nats-Rollup: sub", `{"error":{"code":500,"err_code":10111,"description":"rollup not permitted"},"stream":"S","seq":0}`},
		{"s", "Nats-Msg-Id: a", `{"stream":"S","seq":3}`},
		{"s", "Nats-Msg-Id: b", `{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"},"stream":"S","seq":0}`},
		{"s", "Nats-Msg-Id: a", `{"stream":"S","seq":3,"duplicate": true}`},
		{"s", "Nats-Expected-Last-Sequence: 7", `{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 3"},"stream":"S","seq":0}`},
		{"s", "Nats-Expected-Last-Subject-Sequence: 2", `{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 3"},"stream":"S","seq":0}`},
		{"s", "Nats-Rollup: other", `{"error":{"code":500,"err_code":10111,"description":"rollup not permitted"},"stream":"S","seq":0}`},
		{"t", "", `{"stream":"T","seq":3}`},
	} {
		if m.headers == "" {
			m.headers = "A: b"
		}
		sent.WriteString(sized(fmt.Sprintf("HPUB %s i {h} {n}\r\nNATS/1.0\r\n%s\r\n\r\nx", m.subject, m.headers)) + "\r\n")
		want = append(want, `MSG i 1 {n}\r\n`+m.answer)
	}
	p.send(t, sent.String(), false)
	for n, want := range want {
		if got := unsized(p.next(t)); got != want {
			t.Errorf("message %d:\ngot  %s\nwant %s", n, got, want)
		}
	}
}
