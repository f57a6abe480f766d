package nats

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// rawClient is a connection that counts messages and parses nothing else, so that a figure is
// the server's.
type rawClient struct {
	net.Conn
	buf []byte
}

func dialRaw(b testing.TB, url string) *rawClient {
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "nats://"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, "CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB i 1\r\n"); err != nil {
		b.Fatal(err)
	}
	return &rawClient{conn, make([]byte, 256<<10)}
}

// getMany sends a direct get of many messages, and returns how many came before the status.
func (c *rawClient) getMany(body string) (n int, err error) {
	if _, err := fmt.Fprintf(c, "PUB $JS.API.DIRECT.GET.KV_b i %d\r\n%s\r\n", len(body), body); err != nil {
		return 0, err
	}
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	const begin, end = "HMSG i 1 ", "\r\n\r\n\r\n" // of a status, which has no payload
	for kept := 0; ; {
		got, err := c.Read(c.buf[kept:])
		if err != nil {
			return n, err
		}
		text := c.buf[:kept+got]
		last := max(bytes.LastIndex(text, []byte(begin)), 0)
		n += bytes.Count(text[:last], []byte(begin))
		_, status, isStatus := bytes.Cut(text[last:], []byte("NATS/1.0 "))
		switch {
		case !isStatus || !bytes.HasSuffix(status, []byte(end)):
		case bytes.HasPrefix(status, []byte("204 EOB\r\n")):
			return n, nil
		default:
			return n, fmt.Errorf("%q", status)
		}
		kept = copy(c.buf, text[last:])
	}
}

// BenchmarkGetMany gets 1,000 values with one request, of a bucket that has more keys.
func BenchmarkGetMany(b *testing.B) {
	const count, keys = 1000, 10_000
	named := make([]string, count)
	for i := range named {
		named[i] = "$KV.b." + key(7*i)
	}
	list, _ := json.Marshal(named) // never fails
	for _, r := range []struct{ name, body string }{
		{"page", fmt.Sprintf(`{"seq":%d,"batch":%d}`, keys/2, count)},
		{"filter", fmt.Sprintf(`{"seq":%d,"batch":%d,"next_by_subj":"$KV.b.service.*.*.port"}`, keys/2, count)},
		{"named", fmt.Sprintf(`{"multi_last":%s}`, list)},
		{"matching", `{"multi_last":["$KV.b.service.*.*.many"]}`},
	} {
		b.Run("of="+r.name, func(b *testing.B) {
			each(b, func(b *testing.B, c *client) {
				c.fill(b, keys)
				for i := range count {
					if _, err := c.values.Put(ctx, fmt.Sprintf("service.eu.%d.many", i), bytes.Repeat([]byte{'v'}, 128)); err != nil {
						b.Fatal(err)
					}
				}
				raw := dialRaw(b, c.url)
				b.ResetTimer()
				for range b.N {
					if n, err := raw.getMany(r.body); n != count || err != nil {
						b.Fatalf("%d of %d: %v", n, count, err)
					}
				}
				b.ReportMetric(float64(b.N)*count/b.Elapsed().Seconds(), "keys/s")
			})
		})
	}
}
