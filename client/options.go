package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"kvd/kv"
)

// Options configures a client. The zero value connects without TLS and without a login,
// which suits a server on the same machine.
type Options struct {
	// User and Password are sent on every connection if User is not empty.
	User, Password string

	// TLS is the configuration of TLS connections; nil: no TLS. An empty ServerName is
	// taken from the address. The configuration is not modified.
	TLS *tls.Config

	// Dialer makes the connections below TLS. Nil is a net.Dialer that detects an
	// unreachable server after 30 s.
	Dialer Dialer

	// DialTimeout bounds one attempt to connect, including TLS, greeting and login.
	// Default 5 s.
	DialTimeout time.Duration

	// BackoffMin and BackoffMax bound the pause between attempts to connect again:
	// it doubles from the one to the other, less up to a half at random. Defaults
	// 10 ms and 2 s.
	BackoffMin, BackoffMax time.Duration

	// MaxWait is the time that a call waits for a new connection before it returns a
	// *ConnError, unless its context ends sooner. Default 30 s; negative: until the
	// context ends. Watches always wait until their context ends.
	MaxWait time.Duration

	// WatchInterrupted is called when a watch has lost its server, with the error, and with
	// nil when it goes on. Nothing is missed in between. Nil: no call. The goroutine of the
	// watch waits for its return.
	WatchInterrupted func(error)

	// ReadAhead bounds the part of a listing that is read before the caller asks for
	// it, in bytes of keys and values. If the caller stays further behind, the server
	// closes the connection after a time, and the listing ends with an error. Default
	// 16 MiB.
	ReadAhead int
}

// Dialer makes network connections: a *net.Dialer, or another one for a test or a
// tunnel.
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

const (
	dialTimeoutDefault = 5 * time.Second
	backoffMinDefault  = 10 * time.Millisecond
	backoffMaxDefault  = 2 * time.Second
	maxWaitDefault     = 30 * time.Second
	readAheadDefault   = 16 << 20
)

// keepAlive ends a connection after 15 s of silence and three probes without an answer.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}

func (o Options) withDefaults(address string) (Options, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return o, fmt.Errorf("%w: address %q: %w", kv.ErrInvalidConfig, address, err)
	}
	if o.TLS != nil {
		o.TLS = o.TLS.Clone()
		if o.TLS.ServerName == "" {
			o.TLS.ServerName = host
		}
	}
	if o.Dialer == nil {
		o.Dialer = &net.Dialer{KeepAliveConfig: keepAlive}
	}
	for _, d := range []struct {
		value *time.Duration
		def   time.Duration
	}{
		{&o.DialTimeout, dialTimeoutDefault},
		{&o.BackoffMin, backoffMinDefault},
		{&o.BackoffMax, max(backoffMaxDefault, o.BackoffMin)},
		{&o.MaxWait, maxWaitDefault},
	} {
		if *d.value == 0 {
			*d.value = d.def
		}
	}
	if o.ReadAhead == 0 {
		o.ReadAhead = readAheadDefault
	}
	return o, o.validate()
}

func (o Options) validate() error {
	for _, f := range []struct {
		what     string
		got, min int64
		duration bool
	}{
		{"DialTimeout", int64(o.DialTimeout), 1, true},
		{"BackoffMin", int64(o.BackoffMin), 1, true},
		{"BackoffMax", int64(o.BackoffMax), int64(o.BackoffMin), true},
		{"ReadAhead", int64(o.ReadAhead), 1, false},
	} {
		if f.got < f.min {
			return &kv.LimitError{What: f.what, Got: f.got, Min: f.min, Duration: f.duration, Err: kv.ErrInvalidConfig}
		}
	}
	if o.User == "" && o.Password != "" {
		return fmt.Errorf("%w: a Password without a User", kv.ErrInvalidConfig)
	}
	return nil
}
