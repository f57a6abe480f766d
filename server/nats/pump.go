package nats

import (
	"sync"

	"kvd/server/nats/wire"
)

// pump polls the consumers that deliver to a connection, one after the other, and writes
// their messages. Its goroutine runs while consumers wait.
type pump struct {
	conn *conn
	buf  []byte // their messages, from wire.NewBuffer; nil if there are none. Owned by the goroutine

	mu      sync.Mutex // guards the fields below
	waiting []*consumer
	running bool
}

// add has a consumer polled.
func (p *pump) add(k *consumer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = append(p.waiting, k)
	if !p.running {
		p.running = true
		go p.run()
	}
}

// run is the pump's goroutine. add starts it; it ends when no consumer waits. A client that
// does not read delays it for as long as the connection's output allows.
func (p *pump) run() {
	defer p.conn.Recover()
	var batch []*consumer
	for {
		if batch = p.takeWaiting(batch); batch == nil {
			return
		}
		for i, k := range batch {
			batch[i] = nil
			p.poll(k)
		}
		p.flush()
	}
}

// takeWaiting returns the consumers that wait. It returns nil if there are none: then the
// goroutine ends. room is the caller's old list, whose memory is used again.
func (p *pump) takeWaiting(room []*consumer) []*consumer {
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

func (p *pump) poll(k *consumer) {
	k.queued.Store(false) // before the poll: later events schedule another one
	targets := k.targets.Load()
	switch {
	case targets == nil:
		return
	case (*targets)[0].conn != p.conn:
		k.schedule() // with the pump of its present subscription
		return
	}
	if p.buf == nil {
		p.buf = wire.NewBuffer()
	}
	var more bool
	if p.buf, more = k.poll(p.buf, *targets); more {
		k.schedule()
	}
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
