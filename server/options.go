package server

import (
	"crypto/tls"
	"fmt"
	"log/slog"
)

// Limits that are not options.
const (
	connsDefault        = 4096
	connsPerAddrDefault = 256
)

// Options changes how a server serves. The zero value listens on a free loopback
// port, for everyone on the machine.
type Options struct {
	// Addr is where Listen listens: host:port. An empty host is every address of
	// the machine, port 0 a free one. Default 127.0.0.1:0.
	Addr string

	// TLS encrypts connections, version 1.3 at least whatever it says. Nil: none.
	TLS *tls.Config

	// Users are who may connect. Nil: anyone, with every permission.
	Users *Users

	// Insecure permits an address that is not loopback without users and TLS.
	Insecure bool

	// MaxConns bounds the connections served at a time. Default: 4,096 or half of
	// the descriptors that the process may have, whichever is less.
	MaxConns int

	// MaxConnsPerAddr bounds those from one address that is not loopback; of IPv6,
	// from one /64. Default 256.
	MaxConnsPerAddr int

	// Logger receives what an operator should know: refusals, failed logins,
	// panics. Nil discards it. Neither values nor passwords appear in it.
	Logger *slog.Logger
}

// withDefaults fills in what was left out and checks the rest.
func (o Options) withDefaults() (Options, error) {
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MaxConns == 0 {
		o.MaxConns = min(connsDefault, max(1, descriptors()/2))
	}
	if o.MaxConnsPerAddr == 0 {
		o.MaxConnsPerAddr = connsPerAddrDefault
	}
	if o.MaxConns < 0 || o.MaxConnsPerAddr < 0 {
		return o, fmt.Errorf("server: limits of %d connections and %d per address: both must be positive", o.MaxConns, o.MaxConnsPerAddr)
	}
	if o.TLS != nil {
		o.TLS = o.TLS.Clone()
		o.TLS.MinVersion = max(o.TLS.MinVersion, tls.VersionTLS13)
	}
	return o, nil
}
