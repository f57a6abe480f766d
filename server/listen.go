package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// ErrExposed is returned by Listen for an address that is not loopback, without users
// and TLS.
var ErrExposed = errors.New("an address that is not loopback needs users and TLS")

// keepAlive detects in about a minute that a peer is unreachable.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3}

// ResolveAddr reads an address to listen on, as Options.Addr has it.
func ResolveAddr(s string) (*net.TCPAddr, error) {
	if _, _, err := net.SplitHostPort(s); err != nil {
		return nil, fmt.Errorf("%q is not HOST:PORT, such as 127.0.0.1:5830", s)
	}
	addr, err := net.ResolveTCPAddr("tcp", s)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", s, err)
	}
	return addr, nil
}

// CheckExposed returns an error matching ErrExposed for an address that is not loopback,
// unless that is allowed.
func CheckExposed(addr *net.TCPAddr, allowed bool) error {
	if addr.IP.IsLoopback() || allowed {
		return nil
	}
	return fmt.Errorf("%s: %w; set both, listen on 127.0.0.1:%d, or set insecure", addr, ErrExposed, addr.Port)
}

// Listen opens the listener of Options.Addr. Its error matches ErrExposed for an
// address that is not loopback without users and TLS, and syscall.EADDRINUSE for a port
// in use; the text says how to find the process that uses it.
func (s *Server) Listen() (net.Listener, error) {
	addr, err := ResolveAddr(s.opts.Addr)
	if err != nil {
		return nil, fmt.Errorf("server: listen: %w", err)
	}
	secured := s.opts.TLS != nil && s.logins.users.Load() != nil
	if err := CheckExposed(addr, secured || s.opts.Insecure); err != nil {
		return nil, fmt.Errorf("server: listen: %w", err)
	}
	lc := net.ListenConfig{KeepAliveConfig: keepAlive}
	l, err := lc.Listen(context.Background(), "tcp", addr.String())
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("server: another process, perhaps another kvd, uses port %d: `ss -ltnp sport = :%d` or `lsof -i :%d` shows it: %w", addr.Port, addr.Port, addr.Port, err)
	}
	if err != nil {
		return nil, fmt.Errorf("server: %w", err)
	}
	return l, nil
}
