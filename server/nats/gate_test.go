package nats

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"kvd/server"
)

// A message to a message stream whose expectation matches is stored, however many clients
// write there at the same time. Of several messages with the same expectation only one is
// stored.
func TestExpectationsHoldUnderConcurrentWrites(t *testing.T) {
	const messages = 60
	addr := serve(t, server.Options{})
	join := func(n int) *peer {
		p := dial(t, addr)
		p.send(t, fmt.Sprintf("CONNECT {\"verbose\":false,\"headers\":true}\r\nSUB i%d 1\r\n", n), false)
		return p
	}
	exchange(t, dial(t, addr), `> CONNECT {"verbose":false,"headers":true}`, "> SUB i 1",
		`> PUB $JS.API.STREAM.CREATE.S i {n}\r\n{"name":"S","subjects":["s.>"]}`, "< MSG…",
		`> PUB $JS.API.STREAM.CREATE.T i {n}\r\n{"name":"T","subjects":["t.>"]}`, "< MSG…")
	var careful, careless sync.WaitGroup
	var stop atomic.Bool
	for n := range 8 {
		p := join(n)
		careless.Go(func() {
			for !stop.Load() { // both streams in one run, in either order
				streams := [...]string{"s", "t", "s"}
				p.send(t, fmt.Sprintf("PUB %s.x.%d i%[2]d 1\r\nx\r\nPUB %[3]s.x.%[2]d i%[2]d 1\r\nx\r\n", streams[n%2], n, streams[n%2+1]), false)
				p.next(t)
				p.next(t)
			}
		})
	}
	// publish sends a message that expects a sequence of a subject, and returns its own
	// sequence, or 0 if it is refused.
	publish := func(p *peer, n int, subject, of string, last int) (seq int) {
		p.send(t, sized(fmt.Sprintf("HPUB %s i%d {h} {n}\r\nNATS/1.0\r\nNats-Expected-Last-Subject-Sequence: %d\r\nNats-Expected-Last-Subject-Sequence-Subject: %s\r\n\r\nx", subject, n, last, of))+"\r\n", false)
		answer := p.next(t)
		_, number, _ := strings.Cut(answer, `"seq":`)
		if _, err := fmt.Sscanf(number, "%d", &seq); err != nil {
			t.Error(answer, err)
		}
		return seq
	}
	const prizes = 50
	var won [prizes]atomic.Int64
	var ready [prizes]sync.WaitGroup // Of all, to race for each
	for i := range ready {
		ready[i].Add(4)
	}
	for n := 10; n < 14; n++ {
		p := join(n)
		careful.Go(func() {
			defer func() { // the others wait, whatever comes before
				for i := range prizes {
					ready[i].Done()
					ready[i].Wait()
					if prize := fmt.Sprint("s.prize.", i); publish(p, n, prize, prize, 0) != 0 {
						won[i].Add(1)
					}
				}
			}()
			for _, of := range []string{fmt.Sprint("s.own.", n), fmt.Sprintf("s.%d.*", n)} {
				subject, last := strings.Replace(of, "*", "k", 1), 0
				for range messages {
					seq := publish(p, n, subject, of, last)
					if last = seq; seq == 0 {
						t.Error("refused, although the expectation matches")
						return
					}
				}
			}
		})
	}
	careful.Wait()
	stop.Store(true)
	careless.Wait()
	for i := range won {
		if n := won[i].Load(); n != 1 {
			t.Errorf("%d messages were the first of their subject", n)
		}
	}
}
