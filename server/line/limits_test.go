package line

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"kvd/server"
)

// pass lets the clock of a synctest bubble advance; it takes no real time.
func pass(d time.Duration) { <-time.After(d) }

// drip writes a piece of text every second until the connection ends.
func drip(p *peer, piece string) {
	for range time.Tick(time.Second) {
		if _, err := io.WriteString(p.conn, piece); err != nil {
			return
		}
	}
}

// TestASlowCommandEndsTheConnection sends commands a few bytes a second.
func TestASlowCommandEndsTheConnection(t *testing.T) {
	for _, tt := range []struct {
		name, before, piece string
		want                time.Duration
	}{
		{"line", "P", "k", commandTime},
		{"line after a command", "PING\r\nP", "k", commandTime},
		{"payload", "PUT b k 1024\r\n", "v", commandTime + time.Second/128},
		{"large payload", "PUT b k 1048576\r\n", "v", commandTime + 8*time.Second},
		{"refused payload", "PUT other k 1048576\r\n", "v", commandTime + 8*time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := servePipes(t, newFakeStore(), server.Options{})
				p := r.dial()
				start := time.Now()
				var dripping sync.WaitGroup
				dripping.Go(func() {
					_, _ = io.WriteString(p.conn, tt.before)
					drip(p, tt.piece)
				})
				got, _ := io.ReadAll(p.r)
				if took := time.Since(start); took != tt.want {
					t.Errorf("it ended after %v, want %v", took, tt.want)
				}
				if !strings.HasSuffix(string(got), "-ERR TIMEOUT : the command did not arrive in time\r\n") {
					t.Errorf("the last words are %q", got)
				}
				dripping.Wait()
				synctest.Wait()
				if n := r.server.Conns(); n != 0 {
					t.Errorf("%d connections are left", n)
				}
			})
		})
	}
}

func TestAnIdleConnectionMayStayForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := servePipes(t, newFakeStore(), server.Options{}).dial()
		for range 5 {
			p.ask("PING", "+OK")
			pass(1000 * time.Hour)
		}
		// A large buffer is released meanwhile, and allocated again when it is needed.
		value := strings.Repeat("v", 10_000)
		for i := range 5 {
			p.ask(fmt.Sprintf("PUT b k %d\n%s", len(value), value), fmt.Sprintf("+OK %d", i+1))
			pass(time.Hour)
		}
		// The time of a command begins with its first byte.
		p.sendRaw("PI")
		pass(commandTime - time.Millisecond)
		p.sendRaw("NG\r\n")
		p.expect("+OK")
		pass(time.Hour)
		p.ask("PING", "+OK")
	})
}

// TestAClientThatDoesNotReadIsCutOff sends more and more commands, and reads no replies.
func TestAClientThatDoesNotReadIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore()
		r := servePipes(t, s, server.Options{})
		p := r.dial()
		value := strings.Repeat("v", 20_000)
		p.ask(fmt.Sprintf("PUT b k %d\n%s", len(value), value), "+OK 1")
		start := time.Now()
		for {
			if _, err := io.WriteString(p.conn, strings.Repeat("GET b k\r\n", 100)); err != nil {
				break
			}
		}
		if took := time.Since(start); took > writeTime {
			t.Errorf("it was cut off after %v", took)
		}
		synctest.Wait()
		if n := r.server.Conns(); n != 0 {
			t.Errorf("%d connections are left", n)
		}
		if most := 100 + flushSize/len(value); s.bucket.gets > most {
			t.Errorf("%d values of %d bytes were read for nobody", s.bucket.gets, len(value))
		}
	})
}

// TestASlowReaderIsServed reads a reply piece by piece, each within the time allowed.
func TestASlowReaderIsServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := servePipes(t, newFakeStore(), server.Options{}).dial()
		value := strings.Repeat("v", 900_000)
		p.ask(fmt.Sprintf("PUT b k %d\n%s", len(value), value), "+OK 1")
		p.send("GET b k\n")
		piece := make([]byte, 100_000)
		for got := 0; got < len(value); {
			pass(time.Second)
			n, err := io.ReadFull(p.r, piece[:min(len(piece), len(value)-got)])
			if got += n; err != nil {
				t.Fatalf("after %d bytes: %v", got, err)
			}
		}
	})
}

// TestHalfOpenConnectionsAreNoticed has clients that disappear at every stage.
func TestHalfOpenConnectionsAreNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := servePipes(t, newFakeStore(), server.Options{})
		for _, text := range []string{"", "PI", "PING\r\n", "PUT b k 6\r\nVal", "PUT b k 1000000\r\nVal", "PUT other k 1000000\r\nVal", "GET b k\r\nGET b"} {
			p := r.dial()
			go func() { _, _ = io.Copy(io.Discard, p.conn) }()
			p.sendRaw(text)
			p.conn.Close()
		}
		synctest.Wait()
		if n := r.server.Conns(); n != 0 {
			t.Errorf("%d connections are left", n)
		}
	})
}

func TestAFloodOfConnections(t *testing.T) {
	const limit = 8
	r := serveTCP(t, newFakeStore(), server.Options{MaxConns: limit})
	var served []*peer
	for range limit {
		p := r.dial()
		p.ask("PING", "+OK")
		served = append(served, p)
	}
	for range 50 {
		p := r.dial()
		p.expect(fmt.Sprintf("-ERR TOO_MANY : connections: the server serves %d at a time", limit))
		p.expectClosed()
	}
	for _, p := range served {
		p.ask("PING", "+OK")
	}
	served[0].ask("QUIT", "+OK")
	served[0].expectClosed()
	served[0].conn.Close()
	for r.server.Conns() == limit { // its goroutine has not ended yet
		runtime.Gosched()
	}
	r.dial().ask("PING", "+OK")
}

// TestAnIdleConnectionIsCheap measures the memory of idle connections that were busy
// before.
func TestAnIdleConnectionIsCheap(t *testing.T) {
	if raceEnabled {
		return // memory of the race detector would be measured too
	}
	synctest.Test(t, func(t *testing.T) {
		const n = 400
		r := servePipes(t, newFakeStore(), server.Options{})
		value := strings.Repeat("v", 3000)
		conns := make([]net.Conn, n)
		before := weigh()
		for i := range conns {
			p := r.dial()
			p.ask(fmt.Sprintf("PUT b k %d\n%s", len(value), value), fmt.Sprintf("+OK %d", i+1))
			conns[i] = p.conn
		}
		pass(2 * server.InputIdleTime)
		synctest.Wait()
		each := (weigh() - before) / n
		t.Logf("%d bytes each, the client's end included", each)
		if each > 16<<10 {
			t.Errorf("an idle connection costs %d bytes", each)
		}
		runtime.KeepAlive(conns)
	})
}

// TestAStrangerIsCheap measures the memory of clients that have not logged in and have
// sent nearly as much as is allowed before the login.
func TestAStrangerIsCheap(t *testing.T) {
	if raceEnabled {
		return // memory of the race detector would be measured too
	}
	opts := server.Options{Users: users(t, "alice *=get")}
	synctest.Test(t, func(t *testing.T) {
		const n = 200
		r := servePipes(t, newFakeStore(), opts)
		conns := make([]net.Conn, n)
		before := weigh()
		for i := range conns {
			p := r.dial()
			p.sendRaw("AUTH alice " + strings.Repeat("p", 2000))
			p.sendRaw(strings.Repeat("p", 1000))
			conns[i] = p.conn
		}
		synctest.Wait()
		each := (weigh() - before) / n
		t.Logf("%d bytes each, the client's end included", each)
		if each > 24<<10 {
			t.Errorf("a client before its login costs %d bytes", each)
		}
		runtime.KeepAlive(conns)
	})
}

// weigh returns the memory in use for heap and stacks, bytes.
func weigh() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // frees memory that pools still held after the first
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
