package server

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
)

// ErrTooManyConns is matched by the error of a connection over a limit.
var ErrTooManyConns = errors.New("too many connections")

// ConnLimit bounds the connections of several servers together. It is safe for concurrent
// use.
type ConnLimit struct{ used chan struct{} } // an element for each connection

// NewConnLimit returns a limit of n connections.
func NewConnLimit(n int) *ConnLimit {
	const most = 1 << 20 // no server has more
	return &ConnLimit{used: make(chan struct{}, min(n, most))}
}

// enter counts a connection, and reports whether the limit allows it. A nil limit allows all.
func (l *ConnLimit) enter() bool {
	if l == nil {
		return true
	}
	select {
	case l.used <- struct{}{}:
		return true
	default:
		return false
	}
}

func (l *ConnLimit) leave() {
	if l != nil {
		<-l.used
	}
}

// Listener returns a listener whose connections count in the limit, except the first free of
// those that are open. A connection over the limit is closed at once.
func (l *ConnLimit) Listener(inner net.Listener, free int) net.Listener {
	return &limitedListener{Listener: inner, free: make(chan struct{}, free), rest: l}
}

type limitedListener struct {
	net.Listener
	free chan struct{} // an element for each connection that does not count
	rest *ConnLimit
}

// Accept implements net.Listener.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case l.free <- struct{}{}:
			return &limitedConn{Conn: c, leave: func() { <-l.free }}, nil
		default:
		}
		if l.rest.enter() {
			return &limitedConn{Conn: c, leave: l.rest.leave}, nil
		}
		c.Close()
	}
}

type limitedConn struct {
	net.Conn
	leave func()
	once  sync.Once
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	defer c.once.Do(c.leave)
	return c.Conn.Close()
}

// admission counts connections, in total and by address.
type admission struct {
	max, maxPerAddr int
	together        *ConnLimit // nil: none

	mu     sync.Mutex
	all    int
	byAddr map[netip.Prefix]int
}

// enter counts a new connection, or returns an error that names the limit it exceeds.
func (a *admission) enter(from netip.Prefix) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.all >= a.max {
		return fmt.Errorf("%w: the server serves %d at a time", ErrTooManyConns, a.max)
	}
	if !from.Addr().IsLoopback() {
		if a.byAddr[from] >= a.maxPerAddr {
			return fmt.Errorf("%w: the server serves %d at a time from one address", ErrTooManyConns, a.maxPerAddr)
		}
	}
	if !a.together.enter() {
		return fmt.Errorf("%w: all servers of the process serve %d at a time", ErrTooManyConns, cap(a.together.used))
	}
	if !from.Addr().IsLoopback() {
		a.byAddr[from]++
	}
	a.all++
	return nil
}

func (a *admission) leave(from netip.Prefix) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.together.leave()
	a.all--
	if a.byAddr[from]--; a.byAddr[from] <= 0 {
		delete(a.byAddr, from)
	}
}

func (a *admission) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.all
}

// addressOf returns the address for which a connection is counted. For IPv6 it is the
// /64, all of which a host can use. An address that is not IP is local, and counts as
// loopback.
func addressOf(remote net.Addr) netip.Prefix {
	addr := netip.IPv6Loopback()
	if tcp, ok := remote.(*net.TCPAddr); ok {
		if a, ok := netip.AddrFromSlice(tcp.IP); ok {
			addr = a.Unmap()
		}
	}
	if addr.Is6() && !addr.IsLoopback() {
		p, _ := addr.Prefix(64) // fits every IPv6 address
		return p
	}
	return netip.PrefixFrom(addr, addr.BitLen())
}
