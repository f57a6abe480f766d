package nats

import (
	"sync"

	"kvd/server/nats/wire"
)

// pump gives the consumers that a connection hears their turns, one after the other,
// and writes what they deliver. Its goroutine is there while a consumer waits.
type pump struct {
	conn     *conn
	gathered []byte // what they delivered, of outputs; nil: nothing. Owned by the goroutine

	mu      sync.Mutex // guards the fields below
	waiting []*consumer
	running bool
}

// add has a consumer take a turn.
func (p *pump) add(k *consumer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.waiting = append(p.waiting, k)
	if !p.running {
		p.running = true
		go p.run()
	}
}

// run is the pump's goroutine: started by add, ended when no consumer waits. A client
// that does not read holds it up for as long as output allows.
func (p *pump) run() {
	defer p.conn.Recover()
	var batch []*consumer
	for {
		if batch = p.take(batch); batch == nil {
			return
		}
		for i, k := range batch {
			batch[i] = nil
			p.turn(k)
		}
		p.flush()
	}
}

// take returns those that wait; nil ends the goroutine.
func (p *pump) take(room []*consumer) []*consumer {
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

func (p *pump) turn(k *consumer) {
	k.queued.Store(false) // first: what comes from now on is for another turn
	targets := k.targets.Load()
	switch {
	case targets == nil:
		return
	case (*targets)[0].conn != p.conn:
		k.schedule() // with the pump of whoever hears it now
		return
	}
	if p.gathered == nil {
		p.gathered = wire.NewBuffer()
	}
	var more bool
	if p.gathered, more = k.turn(p.gathered, *targets); more {
		k.schedule()
	}
	if len(p.gathered) >= wire.FlushSize {
		p.flush()
	}
}

// Flush has what was gathered written, and waits where the client does not keep up.
func (p *pump) flush() {
	if p.gathered != nil {
		p.conn.out.AppendBuffer(p.gathered)
		p.gathered = nil
	}
	p.conn.out.FlushAndWait()
}
