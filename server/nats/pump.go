package nats

import (
	"sync"

	"kvd/server/nats/wire"
)

// pump polls the consumers that deliver to a connection and its gets, one after the other,
// and writes their messages. Its goroutine runs while any of them wait.
type pump struct {
	conn *conn
	buf  []byte // their messages, from wire.NewBuffer; nil if there are none. Owned by the goroutine

	mu      sync.Mutex // guards the fields below
	waiting []pumped
	running bool
}

// pumped is what a pump polls: a push consumer, or the gets of the connection.
type pumped interface {
	// pollBy appends messages to the pump's buffer, about as many as one write takes. If
	// there are more, it has itself added to the pump again. The pump's goroutine calls it.
	pollBy(p *pump)
}

// add has something polled.
func (p *pump) add(w pumped) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = append(p.waiting, w)
	if !p.running {
		p.running = true
		go p.run()
	}
}

// run is the pump's goroutine. add starts it; it ends when nothing waits. A client that
// does not read delays it for as long as the connection's output allows.
func (p *pump) run() {
	defer p.conn.Recover()
	var batch []pumped
	for {
		if batch = p.takeWaiting(batch); batch == nil {
			return
		}
		for i, w := range batch {
			batch[i] = nil
			p.poll(w)
		}
		p.flush()
	}
}

// takeWaiting returns what waits. It returns nil if that is nothing: then the
// goroutine ends. room is the caller's old list, whose memory is used again.
func (p *pump) takeWaiting(room []pumped) []pumped {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) == 0 {
		p.running = false
		return nil
	}
	taken := p.waiting
	p.waiting = room[:0]
	return taken
}

func (p *pump) poll(w pumped) {
	if p.buf == nil {
		p.buf = wire.NewBuffer()
	}
	w.pollBy(p)
	if len(p.buf) >= wire.FlushSize {
		p.flush()
	}
}

// flush writes the messages, and waits for a client that reads too slowly.
func (p *pump) flush() {
	if p.buf != nil {
		p.conn.out.AppendBuffer(p.buf)
		p.buf = nil
	}
	p.conn.out.FlushAndWait()
}
