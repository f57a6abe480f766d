package nats

import (
	"fmt"
	"strings"
	"testing"

	"kvd/server"
)

// A client that does not read its watch delays no other client and loses nothing. It costs
// little memory, because the messages stay in the log.
func TestASlowReaderDelaysNoOther(t *testing.T) {
	addr, pipe := serveBoth(t, server.Options{})
	writer, slow := dial(t, addr), pipe()
	exchange(t, writer, `> CONNECT {"verbose":false,"headers":true}`, "> SUB i 1",
		`> PUB $JS.API.STREAM.CREATE.KV_b i {n}\r\n{"name":"KV_b","subjects":["$KV.b.>"],"max_msgs_per_subject":64,"allow_direct":true}`, "< MSG i 1 {n}\\r\\n…")
	exchange(t, slow, `> CONNECT {"verbose":false,"headers":true}`, "> SUB d 1", "> SUB j 2",
		`> PUB $JS.API.CONSUMER.CREATE.KV_b.c j {n}\r\n{"stream_name":"KV_b","config":{"name":"c","deliver_policy":"all","ack_policy":"none","deliver_subject":"d"}}`,
		"< MSG j 2 {n}\\r\\n…")
	const count, size = 100, 10 << 10 // more than a pipe and the server's buffers hold
	value := strings.Repeat("v", size)
	for n := 1; n <= count; n++ {
		exchange(t, writer, fmt.Sprintf(`> PUB $KV.b.k%d i %d\r\n%s`, n, size, value), fmt.Sprintf(`< MSG i 1 {n}\r\n{"stream":"KV_b","seq":%d}`, n))
	}
	for n := 1; n <= count; n++ {
		exchange(t, slow, fmt.Sprintf("< MSG $KV.b.k%d 1 $JS.ACK.KV_b.c.1.%d.%d.…", n, n, n))
	}
}

// A watch with flow control stops when its window is full, and continues after the client's
// reply.
func TestFlowControl(t *testing.T) {
	addr := serve(t, server.Options{})
	p := dial(t, addr)
	exchange(t, p, `> CONNECT {"verbose":false,"headers":true}`, "> SUB i 1",
		`> PUB $JS.API.STREAM.CREATE.KV_b i {n}\r\n{"name":"KV_b","subjects":["$KV.b.>"],"max_msgs_per_subject":1}`, "< MSG i 1 {n}\\r\\n…")
	const count, size = 60, 100 << 10
	value := strings.Repeat("v", size)
	for n := 1; n <= count; n++ {
		exchange(t, p, fmt.Sprintf(`> PUB $KV.b.k%02d i %d\r\n%s`, n, size, value), fmt.Sprintf(`< MSG i 1 {n}\r\n{"stream":"KV_b","seq":%d}`, n))
	}
	exchange(t, p, "> SUB d 2",
		`> PUB $JS.API.CONSUMER.CREATE.KV_b.c i {n}\r\n{"stream_name":"KV_b","config":{"name":"c","deliver_policy":"all","ack_policy":"none","deliver_subject":"d","flow_control":true,"idle_heartbeat":100000000}}`)
	got, request := 0, ""
	for stalled := false; !stalled; {
		switch line := p.next(t); {
		case strings.HasPrefix(line, "MSG $KV.b."):
			got++
		case strings.Contains(line, "FlowControl Request"):
			request = strings.Fields(line)[3]
		case strings.Contains(line, "Idle Heartbeat"):
			// One before that says that the machine is busy.
			stalled = request != "" && strings.Contains(line, "Nats-Consumer-Stalled: "+request+`\r\n`)
		}
	}
	if held := flowWindow/size + 1; got > held+1 || got < held-1 {
		t.Errorf("%d messages came before the window was full", got)
	}
	for got < count {
		if request != "" {
			exchange(t, p, `> PUB `+request+` 0\r\n`)
			request = ""
		}
		switch line := p.next(t); {
		case strings.HasPrefix(line, "MSG $KV.b."):
			got++
		case strings.Contains(line, "FlowControl Request"):
			request = strings.Fields(line)[3]
		case strings.Contains(line, "Nats-Consumer-Stalled: "):
			_, reply, _ := strings.Cut(line, "Nats-Consumer-Stalled: ")
			request, _, _ = strings.Cut(reply, `\r\n`)
		}
	}
}
