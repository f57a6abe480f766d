package line

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"kvd/bucket"
	"kvd/internal/lineproto"
	"kvd/kv"
	"kvd/server"
)

// replayConn is a connection whose client sends the same bytes again and again, and
// discards the replies.
type replayConn struct {
	net.Conn // nil
	pipeline []byte
	rounds   int
	at       int
	written  int
	done     chan struct{} // closed when the server has read everything
}

func (c *replayConn) Read(b []byte) (int, error) {
	if c.at == len(c.pipeline) {
		if c.rounds--; c.rounds <= 0 {
			close(c.done)
			return 0, io.EOF
		}
		c.at = 0
	}
	n := copy(b, c.pipeline[c.at:])
	c.at += n
	return n, nil
}

func (c *replayConn) Write(b []byte) (int, error)      { c.written += len(b); return len(b), nil }
func (c *replayConn) Close() error                     { return nil }
func (c *replayConn) SetReadDeadline(time.Time) error  { return nil }
func (c *replayConn) SetWriteDeadline(time.Time) error { return nil }
func (c *replayConn) RemoteAddr() net.Addr             { return &net.UnixAddr{} }

// replayRounds makes the server read a pipeline that many times, and returns the number
// of bytes in the answers.
func replayRounds(t testing.TB, store kv.Store, pipeline string, rounds int) int {
	t.Helper()
	l := &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	srv := newServer(t, store, server.Options{})
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	c := &replayConn{pipeline: []byte(pipeline), rounds: rounds, done: make(chan struct{})}
	l.conns <- c
	<-c.done // a shutdown before this would end it early
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-served
	return c.written
}

// TestHotCommandsDoNotAllocate counts the allocations of a command between the read and
// the write. The store allocates nothing.
func TestHotCommandsDoNotAllocate(t *testing.T) {
	if raceEnabled {
		return // the detector allocates
	}
	s := newFakeStore()
	s.bucket.values["key"] = []byte("value")
	for _, command := range []string{"PUT b key 5\r\nvalue\r\n", "PUT b key id=9 5\r\nvalue\r\n", "GET b key\r\n", "GET b none\r\n", "PING\r\n"} {
		for _, depth := range []int{1, 16} {
			pipeline := strings.Repeat(command, depth)
			const rounds = 2000
			few := testing.AllocsPerRun(3, func() { replayRounds(t, s, pipeline, 1) })
			many := testing.AllocsPerRun(3, func() {
				if n := replayRounds(t, s, pipeline, rounds); n < 5*depth*rounds {
					t.Fatalf("%d bytes were answered", n)
				}
			})
			if each := (many - few) / rounds / float64(depth); each > 0.02 {
				t.Errorf("%q, %d at a time: %.3f allocations each", command, depth, each)
			}
		}
	}
}

// benchStore opens the engine on a real disk, with n keys of 128 bytes.
func benchStore(b *testing.B, n int) *bucket.Store {
	b.Helper()
	s, err := bucket.Open(b.TempDir()+"/store", bucket.Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	if _, err := s.CreateBucket(b.Context(), kv.Config{Bucket: "b"}); err != nil {
		b.Fatal(err)
	}
	ms := make([]kv.Mutation, n)
	for i := range ms {
		ms[i] = kv.Mutation{Bucket: "b", Op: kv.MutatePut, Key: fmt.Sprintf("key.%d", i), Value: make([]byte, 128)}
	}
	if err := s.Submit(b.Context(), ms); err != nil {
		b.Fatal(err)
	}
	return s
}

// BenchmarkLoopback measures one client on TCP that keeps that many commands under way.
// The result includes the client: one write and a few reads for each pipeline.
func BenchmarkLoopback(b *testing.B) {
	const keys = 1000
	value := strings.Repeat("v", 128)
	commands := map[string]func(i int) string{
		"PUT":  func(i int) string { return fmt.Sprintf("PUT b key.%d %d\r\n%s\r\n", i%keys, len(value), value) },
		"GET":  func(i int) string { return fmt.Sprintf("GET b key.%d\r\n", i%keys) },
		"PING": func(int) string { return "PING\r\n" },
	}
	for _, verb := range []string{"PING", "GET", "PUT"} {
		for _, depth := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("%s/depth=%d", verb, depth), func(b *testing.B) {
				r := serveTCP(b, benchStore(b, keys), server.Options{})
				p := r.dial()
				pipelines := make([][]byte, 16)
				for i := range pipelines {
					for d := range depth {
						pipelines[i] = append(pipelines[i], commands[verb](i*depth+d)...)
					}
				}
				b.ReportAllocs()
				b.ResetTimer()
				done := 0
				for done < b.N {
					if _, err := p.conn.Write(pipelines[done/depth%len(pipelines)]); err != nil {
						b.Fatal(err)
					}
					for range depth {
						skipReply(b, p.r)
					}
					done += depth
				}
				b.ReportMetric(float64(done)/b.Elapsed().Seconds(), "commands/s")
			})
		}
	}
}

// skipReply reads one reply. An error fails the benchmark.
func skipReply(b *testing.B, r *bufio.Reader) {
	b.Helper()
	var reply lineproto.Reply
	for size := 1; ; {
		if _, err := r.Peek(size); err != nil {
			b.Fatal(err)
		}
		buf, _ := r.Peek(r.Buffered())
		n, err := lineproto.ParseReply(buf, &reply)
		if err == lineproto.ErrIncomplete {
			size = n
			continue
		}
		if err != nil || reply.Kind == lineproto.ReplyError {
			b.Fatalf("%.100q: %v", buf, err)
		}
		_, _ = r.Discard(n)
		return
	}
}

// BenchmarkServe measures the server alone: there is no network, and the store does
// nothing.
func BenchmarkServe(b *testing.B) {
	value := bytes.Repeat([]byte("v"), 128)
	s := newFakeStore()
	s.bucket.values["service.eu.web.1"] = value
	for _, bm := range []struct{ name, command string }{
		{"PING", "PING\r\n"},
		{"GET", "GET b service.eu.web.1\r\n"},
		{"PUT", fmt.Sprintf("PUT b service.eu.web.1 %d\r\n%s\r\n", len(value), value)},
	} {
		for _, depth := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("%s/depth=%d", bm.name, depth), func(b *testing.B) {
				b.ReportAllocs()
				rounds := (b.N + depth - 1) / depth
				if n := replayRounds(b, s, strings.Repeat(bm.command, depth), rounds); n < 5*b.N {
					b.Fatalf("%d bytes were answered", n)
				}
			})
		}
	}
}
