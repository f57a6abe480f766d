package nats

import (
	"bytes"
	"strconv"
	"strings"
	"testing"

	"kvd/server"
)

// BenchmarkPublish measures what the front end spends on a message, from the socket to
// the acknowledgement: 64 messages to a memory stream are under way at a time.
func BenchmarkPublish(b *testing.B) {
	const underWay = 64
	for _, c := range []struct {
		expects string
		subject string
		headers func(dst []byte, next int64) []byte // Of the message that gets the sequence next; nil: none
	}{
		{"nothing/stream=bucket", "$KV.b.k", nil},
		{"nothing/stream=plain", "s.a", nil},
		{"id/stream=plain", "s.a", func(dst []byte, next int64) []byte { return appendNumber(dst, "Nats-Msg-Id", next) }},
		{"subject/stream=bucket", "$KV.b.k", func(dst []byte, next int64) []byte {
			return appendNumber(dst, "Nats-Expected-Last-Subject-Sequence", next-1)
		}},
		{"subject/stream=plain", "s.a", func(dst []byte, next int64) []byte {
			return appendNumber(dst, "Nats-Expected-Last-Subject-Sequence", next-1)
		}},
		{"another/stream=bucket", "$KV.b.k", func(dst []byte, next int64) []byte {
			dst = append(dst, "Nats-Expected-Last-Subject-Sequence-Subject: $KV.b.l\r\n"...)
			return appendNumber(dst, "Nats-Expected-Last-Subject-Sequence", 0)
		}},
	} {
		b.Run("expects="+c.expects, func(b *testing.B) {
			p := dial(b, serve(b, server.Options{}))
			p.send(b, "CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB i 1\r\n", false)
			for _, create := range []string{
				`PUB $JS.API.STREAM.CREATE.KV_b i {n}\r\n{"name":"KV_b","subjects":["$KV.b.>"],"max_msgs_per_subject":1,"storage":"memory"}`,
				`PUB $JS.API.STREAM.CREATE.S i {n}\r\n{"name":"S","subjects":["s.>"],"storage":"memory"}`,
			} {
				p.send(b, sized(strings.ReplaceAll(create, `\r\n`, "\r\n"))+"\r\n", false)
				if answer := p.next(b); !strings.Contains(answer, "did_create") {
					b.Fatal(answer)
				}
			}
			var batch, headers []byte
			in := make([]byte, 64<<10)
			next := int64(1)
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += underWay {
				batch = batch[:0]
				for range underWay {
					headers = append(headers[:0], "NATS/1.0\r\n"...)
					if c.headers != nil {
						headers = c.headers(headers, next)
					}
					headers = append(headers, "\r\n"...)
					batch = appendPublish(batch, c.subject, headers)
					next++
				}
				if _, err := p.Write(batch); err != nil {
					b.Fatal(err)
				}
				for lines := 0; lines < 2*underWay; {
					n, err := p.in.Read(in)
					if err != nil {
						b.Fatal(err)
					}
					if bytes.Contains(in[:n], []byte("error")) {
						b.Fatal(string(in[:n]))
					}
					lines += bytes.Count(in[:n], []byte{'\n'})
				}
			}
		})
	}
}

func appendNumber(dst []byte, name string, n int64) []byte {
	dst = append(append(dst, name...), ": "...)
	return append(strconv.AppendInt(dst, n, 10), "\r\n"...)
}

// appendPublish appends a message of one byte.
func appendPublish(dst []byte, subject string, headers []byte) []byte {
	dst = append(append(append(dst, "HPUB "...), subject...), " i "...)
	dst = append(strconv.AppendInt(dst, int64(len(headers)), 10), ' ')
	dst = append(strconv.AppendInt(dst, int64(len(headers)+1), 10), "\r\n"...)
	return append(append(dst, headers...), "x\r\n"...)
}
