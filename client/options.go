package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"kvd/kv"
)

// Options changes how a client connects. The zero value connects in the clear
// and without a name, as to a server on this machine.
type Options struct {
	// User and Password are sent on every connection if User is not empty.
	User, Password string

	// TLS makes every connection a TLS connection; nil: in the clear. A ServerName
	// left empty is taken from the address. It is not modified.
	TLS *tls.Config

	// Dialer makes the connections that TLS runs over. Nil is a net.Dialer that
	// notices a vanished server after 30 s of silence.
	Dialer Dialer

	// DialTimeout bounds one attempt to connect: dialing, TLS, greeting and
	// password. Default 5 s.
	DialTimeout time.Duration

	// BackoffMin and BackoffMax bound the pause between attempts to connect again:
	// it doubles from the one to the other, less up to a half at random. Defaults
	// 10 ms and 2 s.
	BackoffMin, BackoffMax time.Duration

	// MaxWait is how long a call waits for a lost connection to come back before
	// it returns a *ConnError, unless its context ends sooner. Default 30 s;
	// negative: until the context ends. Watches wait until theirs ends.
	MaxWait time.Duration

	// ReadAhead is how much of a listing, in bytes of keys and values, is taken
	// from the server before the caller asks for it. A caller that stays further
	// behind for as long as the server's patience lasts loses the rest of the
	// listing, with an error. Default 16 MiB.
	ReadAhead int
}

// Dialer makes network connections: a *net.Dialer, or whatever a test or a
// tunnel needs.
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

// keepAlive gives a silent peer 15 s and three probes.
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
