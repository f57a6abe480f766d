package server

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"
)

// guesses slows the attempts to log in as one user from one address. A few are free, and
// come back with time. Further ones wait, and are refused without a check if they would have
// to wait too long. A login that succeeds costs nothing.
type guesses struct {
	mu     sync.Mutex
	byPair map[pair]time.Time // when all the free attempts are back
}

// pair is a user, known or not, at an address.
type pair struct {
	from netip.Prefix
	name string
}

const (
	guessesFree = 5                      // at once
	guessPause  = 200 * time.Millisecond // after which one more is free
	guessWait   = time.Second            // the longest that an attempt waits
	pairsMax    = 4096                   // remembered
)

func (g *guesses) init() { g.byPair = make(map[pair]time.Time) }

func newPair(from netip.Prefix, name string) pair {
	return pair{from, name[:min(len(name), userNameMax+1)]} // no user has a longer name
}

// wait returns when the attempt may be made, or an error.
func (g *guesses) wait(ctx context.Context, from netip.Prefix, name string) error {
	pause, err := g.reserve(newPair(from, name))
	if err != nil || pause <= 0 {
		return err
	}
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrLogin, ctx.Err())
	}
}

// reserve counts an attempt and returns how long it has to wait. It does not count one that
// is refused.
func (g *guesses) reserve(p pair) (time.Duration, error) {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	back, ok := g.byPair[p]
	if back.Before(now) {
		back = now
	}
	back = back.Add(guessPause)
	pause := back.Sub(now) - guessesFree*guessPause
	if pause > guessWait {
		return 0, fmt.Errorf("%w: too many attempts, try again in %v", ErrLogin, pause.Round(guessPause))
	}
	if !ok {
		g.makeRoomLocked(now)
	}
	g.byPair[p] = back
	return pause, nil
}

// forget forgets the failed attempts of a user from an address. It is called after a login.
func (g *guesses) forget(from netip.Prefix, name string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.byPair, newPair(from, name))
}

// makeRoomLocked removes pairs so that one more fits: those that have all free attempts
// again, otherwise any one.
func (g *guesses) makeRoomLocked(now time.Time) {
	if len(g.byPair) < pairsMax {
		return
	}
	for p, back := range g.byPair {
		if back.Before(now) {
			delete(g.byPair, p)
		}
	}
	for p := range g.byPair {
		if len(g.byPair) < pairsMax {
			return
		}
		delete(g.byPair, p)
	}
}
