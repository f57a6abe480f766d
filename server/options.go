package server

import (
	"crypto/tls"
	"fmt"
	"log/slog"

	"kvd/internal/descriptors"
)

// Limits that are not options.
const (
	connsDefault        = 4096
	connsPerAddrDefault = 256
)

// Options configures a server. The zero value listens on a free loopback port, without
// users.
type Options struct {
	// Addr is the address to listen on: host:port. An empty host means every address
	// of the machine, port 0 a free port. Default 127.0.0.1:0.
	Addr string

	// TLS encrypts connections, always with version 1.3 or newer. Nil: no TLS.
	TLS *tls.Config

	// Users are the users who can log in. Nil: no login, all permissions for everyone.
	Users *Users

	// Logins are those of several servers together. Nil: this server has Users for itself.
	Logins *Logins

	// Insecure allows an address that is not loopback without users and TLS.
	Insecure bool

	// MaxConns bounds the connections served at a time. Default: 4,096, or what a store
	// beside it leaves of the descriptors that the process may have, whichever is less.
	MaxConns int

	// Together bounds the connections of all servers that have the same one. Nil: no bound
	// but MaxConns.
	Together *ConnLimit

	// MaxConnsPerAddr bounds the connections from one address that is not loopback
	// (IPv6: from one /64). Default 256.
	MaxConnsPerAddr int

	// Logger receives refused connections, failed logins and panics. Nil discards them.
	// Values and passwords are never logged.
	Logger *slog.Logger
}

// withDefaults fills in the defaults and checks the limits.
func (o Options) withDefaults() (Options, error) {
	if o.Addr == "" {
		o.Addr = "127.0.0.1:0"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Logins == nil {
		o.Logins = NewLogins(o.Users)
	}
	if o.MaxConns == 0 {
		o.MaxConns = min(connsDefault, descriptors.Connections(descriptors.Limit()))
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
