package nats

import (
	"bytes"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"kvd/server"
)

// BenchmarkDeliver compares the deliveries of a push consumer with those of a pull consumer
// to requests for 100 messages each, of a memory stream with messages of 128 bytes.
func BenchmarkDeliver(b *testing.B) {
	const messages = 20_000
	p := dial(b, serve(b, server.Options{}))
	p.send(b, "CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB i 1\r\nSUB d 2\r\n", false)
	ask := func(request string) {
		b.Helper()
		p.send(b, sized(strings.ReplaceAll(request, `\r\n`, "\r\n"))+"\r\n", false)
		if answer := p.next(b); strings.Contains(answer, "error") {
			b.Fatal(answer)
		}
	}
	ask(`PUB $JS.API.STREAM.CREATE.S i {n}\r\n{"name":"S","subjects":["s.>"],"storage":"memory"}`)
	value := strings.Repeat("v", 128)
	for range messages {
		ask(`PUB s.a i {n}\r\n` + value)
	}
	const request = "PUB $JS.API.CONSUMER.MSG.NEXT.S.c d 15\r\n{\"batch\": 100 }\r\n"
	for _, kind := range []struct {
		name, config, each, request string
		batch                       int // messages for a request
	}{
		{"push", `"ack_policy":"none","deliver_subject":"d"`, "", "", messages},
		{"pull", `"ack_policy":"none"`, "", request, 100},
		{"pull-explicit", `"ack_policy":"explicit","max_ack_pending":-1`, "", request, 100},
	} {
		b.Run(kind.name, func(b *testing.B) {
			in := make([]byte, 256<<10)
			for n := 0; n < b.N; n += messages {
				ask(`PUB $JS.API.CONSUMER.CREATE.S.c i {n}\r\n{"stream_name":"S","config":{"name":"c","deliver_policy":"by_start_sequence","opt_start_seq":1,"inactive_threshold":60000000000,` + kind.config + `}}`)
				for got := 0; got < messages; got += kind.batch {
					if kind.request != "" {
						p.send(b, kind.request, false)
					}
					for lines := 0; lines < 2*kind.batch; {
						n, err := p.in.Read(in)
						if err != nil {
							b.Fatal(err)
						}
						lines += bytes.Count(in[:n], []byte{'\n'})
					}
				}
				ask(`PUB $JS.API.CONSUMER.DELETE.S.c i {n}\r\n`)
			}
		})
	}
}

// Consumers that nobody asks are small.
func TestIdlePullConsumersAreSmall(t *testing.T) {
	const count, limit = 4000, 2 << 10
	p := dial(t, serve(t, server.Options{}))
	p.send(t, "CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB i 1\r\n", false)
	ask := func(subject, body string) {
		t.Helper()
		p.send(t, fmt.Sprintf("PUB %s i %d\r\n%s\r\n", subject, len(body), body), false)
		if answer := p.next(t); strings.Contains(answer, "error") {
			t.Fatal(answer)
		}
	}
	ask("$JS.API.STREAM.CREATE.S", `{"name":"S","subjects":["s.>"]}`)
	ask("s.a", "v")
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	config := `{"stream_name":"S","config":{"ack_policy":"explicit","inactive_threshold":3600000000000}}`
	ask("$JS.API.CONSUMER.CREATE.S.first", config)
	before := heap()
	for n := range count {
		name := "c" + strconv.Itoa(n)
		ask("$JS.API.CONSUMER.CREATE.S."+name, config)
		ask("$JS.API.CONSUMER.MSG.NEXT.S."+name, "") // which is one message
		ask("$JS.ACK.S."+name+".1.1.1.0.0", "+ACK")
	}
	each := (heap() - before) / count
	t.Logf("%d bytes for a consumer", each)
	if each > limit {
		t.Errorf("an idle pull consumer has %d bytes, more than %d", each, limit)
	}
}
