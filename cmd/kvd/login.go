package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"kvd/client"
)

// login is the user of a client, and how it checks the server.
type login struct {
	user         string
	password     string
	passwordFile string
	tls          bool
	ca           string
	cert, key    string
}

func (l *login) addFlags(a *app, c *cobra.Command) {
	f := c.Flags()
	l.password = a.env("KVD_PASSWORD", "")
	f.StringVar(&l.user, "user", a.env("KVD_USER", ""), "user name (KVD_USER); the password comes from KVD_PASSWORD or --password-file")
	f.StringVar(&l.passwordFile, "password-file", "", "file whose first line is the password")
	f.BoolVar(&l.tls, "tls", a.env("KVD_TLS", "") == "true", "connect with TLS (KVD_TLS=true)")
	f.StringVar(&l.ca, "tls-ca", a.env("KVD_TLS_CA", ""), "CA file to trust instead of the CAs of the system; implies --tls (KVD_TLS_CA)")
	f.StringVar(&l.cert, "tls-cert", "", "client certificate file; implies --tls")
	f.StringVar(&l.key, "tls-key", "", "key file of --tls-cert")
}

// dial connects to the server.
func (t *target) dial(ctx context.Context) (*client.Client, error) {
	opts := client.Options{DialTimeout: t.timeout, MaxWait: t.timeout}
	if t.login.user != "" {
		password, err := t.login.secret()
		if err != nil {
			return nil, err
		}
		opts.User, opts.Password = t.login.user, password
	}
	var err error
	if opts.TLS, err = t.login.tlsConfig(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, t.timeout)
	defer cancel()
	return client.Dial(ctx, withPort(t.server), opts)
}

// withPort returns the address, with the default port if it has none. An empty address
// is the default one: an empty environment variable counts as not set.
func withPort(address string) string {
	switch _, port, _ := net.SplitHostPort(serverDefault); {
	case address == "":
		return serverDefault
	case !strings.Contains(address, ":"):
		return net.JoinHostPort(address, port)
	}
	return address
}

// secret returns the password: from the file if one is named, otherwise from the
// environment.
func (l *login) secret() (string, error) {
	if l.passwordFile == "" {
		return l.password, nil
	}
	b, err := os.ReadFile(l.passwordFile)
	if err != nil {
		return "", fmt.Errorf("password: %w", err)
	}
	return firstLine(b), nil
}

// tlsConfig returns nil for a connection without TLS.
func (l *login) tlsConfig() (*tls.Config, error) {
	if !l.tls && l.ca == "" && l.cert == "" {
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS13}
	if l.ca != "" {
		pool, err := loadPool(l.ca)
		if err != nil {
			return nil, err
		}
		cfg.RootCAs = pool
	}
	if l.cert != "" {
		pair, err := tls.LoadX509KeyPair(l.cert, l.key)
		if err != nil {
			return nil, fmt.Errorf("certificate %s: %w", l.cert, err)
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg, nil
}

// loadPool reads a file of CA certificates.
func loadPool(name string) (*x509.CertPool, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("CA file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("CA file: %s: %w", name, errNoCertificate)
	}
	return pool, nil
}

var errNoCertificate = errors.New("no certificate in PEM form in the file")
