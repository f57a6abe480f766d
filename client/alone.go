package client

import (
	"context"

	"kvd/internal/lineproto"
	"kvd/kv"
)

// alone is a watch on a connection of its own. A consumer that does not receive stops the
// reads from the connection; the events stay in the server's store.
type alone struct {
	*watcher
	wire     *wire
	caughtUp bool // SYNCED has come on this connection
}

// watchNumber names the one watch of a connection.
const watchNumber = 1

// connect continues the watch on a connection of its own: one that was kept, or a new one.
func (w *watcher) connect() (place, error) {
	c := w.bucket.client
	for kept := c.keptWire(); kept != nil; kept = c.keptWire() {
		if err := w.beginOn(kept); err == nil || !passing(err) {
			return w.aloneOn(kept, err)
		} // it was broken
	}
	wire, err := c.dial(w.ctx)
	if err == nil {
		err = w.beginOn(wire)
	}
	return w.aloneOn(wire, err)
}

func (w *watcher) aloneOn(wire *wire, err error) (place, error) {
	if err != nil {
		return nil, err
	}
	return &alone{watcher: w, wire: wire}, nil
}

func (a *alone) again() (place, error) { return a.connect() }

// beginOn sends INFO and WATCH and reads the answers. After an error the connection is closed.
func (w *watcher) beginOn(wire *wire) error {
	stop := context.AfterFunc(w.ctx, wire.close)
	defer stop()
	err := w.ask(wire)
	if err != nil {
		wire.close()
		if w.ctx.Err() != nil {
			err = w.ctx.Err()
		}
	}
	return err
}

func (w *watcher) ask(wire *wire) error {
	info, watch := w.infoCommand(), w.command(watchNumber, w.next)
	if err := wire.write(&info, &watch); err != nil {
		return w.broken(err)
	}
	r, err := w.answer(wire, lineproto.ReplyInfo)
	if err != nil {
		return err
	}
	st, err := r.Status()
	if err != nil {
		return w.broken(err)
	}
	if _, err = w.answer(wire, lineproto.ReplyOK); err != nil {
		return err
	}
	w.position.begin(st.Revision, w.options.UpdatesOnly)
	return nil
}

// answer returns the next reply, which must be of that kind.
func (w *watcher) answer(wire *wire, kind lineproto.ReplyKind) (*lineproto.Reply, error) {
	r, err := wire.replies.next()
	if err != nil {
		return nil, w.broken(err)
	}
	if r.Kind != kind {
		return nil, w.refusal(r)
	}
	return r, nil
}

// follow delivers what comes until the watch can move to a shared connection, or its own
// breaks, or the watch ends.
func (a *alone) follow() (place, error) {
	closes := context.AfterFunc(a.ctx, a.wire.close)
	seat, err := a.deliver()
	if closes() && err == nil {
		a.bucket.client.putSpare(a.wire)
	} else {
		a.wire.close()
	}
	if err != nil {
		if seat != nil {
			seat.leave()
		}
		return nil, err
	}
	seat.release()
	return seat, nil
}

// deliver delivers events until the watch has a seat on a shared connection, and none here.
func (a *alone) deliver() (*seat, error) {
	for {
		if a.current() && a.wait.over() {
			if seat, err := a.reserve(); err == nil {
				return seat, a.unwatch()
			}
			a.wait.longer()
		}
		r, err := a.wire.replies.next()
		if err != nil {
			return nil, a.broken(err)
		}
		if err := a.take(r); err != nil {
			return nil, err
		}
	}
}

// current reports whether the watch has delivered all that has come. A watch that lagged
// before is current only if its consumer has received most of it.
func (a *alone) current() bool {
	return a.caughtUp && !a.wire.replies.buffered() && (!a.lagged || len(a.updates) <= updatesKept/2)
}

// take delivers what the line of an event says. Any other line ends the watch here.
func (a *alone) take(r *lineproto.Reply) error {
	switch r.Kind {
	case lineproto.ReplyEvent, lineproto.ReplyLostEvent:
		return a.event(r)
	case lineproto.ReplySynced:
		a.caughtUp = true
		if !a.synced {
			if err := a.send(kv.Update{}); err != nil {
				return err
			}
		}
		a.sync()
		return nil
	case lineproto.ReplyWatchEnd:
		a.next = max(a.next, r.Next)
	}
	return a.refusal(r)
}

// event delivers an entry, unless it was delivered before.
func (a *alone) event(r *lineproto.Reply) error {
	revision := r.Entry.Revision
	if revision <= a.last {
		return nil
	}
	if u, ok := a.update(r); ok {
		if err := a.send(u); err != nil {
			return err
		}
	}
	a.pass(revision)
	return nil
}

// unwatch ends the watch on this connection and delivers what comes until then: everything
// that the server had when it got the command, unless that is very much.
func (a *alone) unwatch() error {
	if err := a.wire.write(&lineproto.Command{Verb: lineproto.VerbUnwatch, Watch: watchNumber}); err != nil {
		return a.broken(err)
	}
	for {
		r, err := a.wire.replies.next()
		if err != nil {
			return a.broken(err)
		}
		if r.Kind == lineproto.ReplyOK {
			return nil
		}
		if err := a.take(r); err != nil {
			return err
		}
	}
}

// pace spaces the attempts of a watch to share a connection.
type pace struct {
	left, failures int
}

// over reports whether it is time for the next attempt. It counts the calls.
func (p *pace) over() bool {
	p.left--
	return p.left < 0
}

// longer makes the wait for the next attempt twice as long: up to 65,536 calls.
func (p *pace) longer() {
	p.left = 1 << min(p.failures, 16)
	p.failures++
}
