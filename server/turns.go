package server

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
)

// turns lets a few passwords be hashed at a time, so that processors are left for other work.
// Addresses take turns, so that one that sends many attempts does not hold up the others.
type turns struct {
	mu      sync.Mutex
	free    int
	order   []netip.Prefix // the addresses that wait
	waiting map[netip.Prefix][]chan struct{}
}

const waitingMax = 16 // attempts of one address

func (t *turns) init() {
	t.free = max(1, runtime.GOMAXPROCS(0)/2)
	t.waiting = make(map[netip.Prefix][]chan struct{})
}

// take waits for a turn, which release ends. It returns an error if too many wait from this
// address, or when the context ends.
func (t *turns) take(ctx context.Context, from netip.Prefix) error {
	turn, err := t.enqueue(from)
	if turn == nil {
		return err
	}
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	if !t.remove(from, turn) { // it came in the meantime
		t.release()
	}
	return fmt.Errorf("%w: %w", ErrLogin, ctx.Err())
}

// enqueue returns a channel that is closed when the turn comes; nil if it has come.
func (t *turns) enqueue(from netip.Prefix) (chan struct{}, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.free > 0 {
		t.free--
		return nil, nil
	}
	if len(t.waiting[from]) >= waitingMax {
		return nil, fmt.Errorf("%w: too many attempts at a time from this address", ErrLogin)
	}
	if len(t.waiting[from]) == 0 {
		t.order = append(t.order, from)
	}
	turn := make(chan struct{})
	t.waiting[from] = append(t.waiting[from], turn)
	return turn, nil
}

// release gives the turn to the next address.
func (t *turns) release() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.order) == 0 {
		t.free++
		return
	}
	from := t.order[0]
	t.order = t.order[1:]
	close(t.waiting[from][0])
	if t.waiting[from] = t.waiting[from][1:]; len(t.waiting[from]) > 0 {
		t.order = append(t.order, from)
	} else {
		delete(t.waiting, from)
	}
}

// remove removes an attempt that waits, and reports whether it was there.
func (t *turns) remove(from netip.Prefix, turn chan struct{}) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := slices.Index(t.waiting[from], turn)
	if at < 0 {
		return false
	}
	if t.waiting[from] = slices.Delete(t.waiting[from], at, at+1); len(t.waiting[from]) == 0 {
		delete(t.waiting, from)
		t.order = slices.DeleteFunc(t.order, func(p netip.Prefix) bool { return p == from })
	}
	return true
}
