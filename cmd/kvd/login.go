package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"kvd/client"
	"kvd/internal/lineproto"
	"kvd/kv"
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
	l.addUser(a, c)
	f := c.Flags()
	f.BoolVar(&l.tls, "tls", a.env("KVD_TLS", "") == "true", "connect with TLS (KVD_TLS=true)")
	f.StringVar(&l.ca, "tls-ca", a.env("KVD_TLS_CA", ""), "CA file to trust instead of the CAs of the system; implies --tls (KVD_TLS_CA)")
	f.StringVar(&l.cert, "tls-cert", "", "client certificate file; implies --tls")
	f.StringVar(&l.key, "tls-key", "", "key file of --tls-cert")
}

// addUser adds the flags of the user alone.
func (l *login) addUser(a *app, c *cobra.Command) {
	f := c.Flags()
	l.password = a.env("KVD_PASSWORD", "")
	f.StringVar(&l.user, "user", a.env("KVD_USER", ""), "user name (KVD_USER); the password comes from KVD_PASSWORD or --password-file")
	f.StringVar(&l.passwordFile, "password-file", "", "file whose first line is the password")
}

// dial connects to the server.
func (t *target) dial(ctx context.Context) (*client.Client, error) {
	opts := client.Options{DialTimeout: t.wait(), MaxWait: t.wait()}
	opts.WatchInterrupted = t.interrupted
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
	ctx, cancel := context.WithTimeout(ctx, t.wait())
	defer cancel()
	t.server = withPort(t.server)
	c, err := client.Dial(ctx, t.server, opts)
	if err != nil {
		return nil, t.explainProtocol(err, opts.TLS != nil)
	}
	return c, nil
}

// explainProtocol says what listens at the address, if it is not kvd's own protocol.
func (t *target) explainProtocol(err error, encrypted bool) error {
	var conn *client.ConnError
	if !errors.As(err, &conn) {
		return err
	}
	if !errors.Is(err, lineproto.ErrSyntax) && !isHangup(err) {
		return err
	}
	hint := ""
	switch greeting := greetingOf(t.server); {
	case strings.HasPrefix(greeting, "INFO "):
		hint = "that is a port for NATS clients; kvd's own is " + serverDefault + " by default"
	case strings.HasPrefix(greeting, "HTTP/"):
		hint = "that is a port for HTTP, such as the admin address; kvd's own is " + serverDefault + " by default"
	case greeting == "" && !encrypted && !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, context.DeadlineExceeded):
		hint = "the server may want TLS: --tls or --tls-ca"
	}
	if hint == "" {
		return err
	}
	return &hintedError{fmt.Errorf("%w (%s)", err, hint)}
}

// isHangup reports whether the server ended the connection without a word.
func isHangup(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || strings.Contains(err.Error(), "closed the connection")
}

// greetingOf returns the first bytes that a server sends to a client that says HELLO; empty
// if it sends none.
func greetingOf(address string) string {
	const patience = time.Second
	c, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		return ""
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write([]byte("HELLO\r\n\r\n")); err != nil {
		return ""
	}
	var b [8]byte
	n, _ := c.Read(b[:])
	return string(b[:n])
}

// fromURL takes what a URL says of the login. Flags count more.
func (l *login) fromURL(c *cobra.Command, u *url.URL, from string) error {
	l.tls = l.tls || u.Scheme == "kvds"
	for name, values := range u.Query() {
		if name != "ca" || len(values) != 1 {
			return fmt.Errorf("%s: unknown option %q in the URL: only ca=FILE is known", from, name)
		}
		if !c.Flags().Changed("tls-ca") {
			l.ca = values[0]
		}
	}
	if u.Scheme == "kvd" && u.Query().Has("ca") {
		return fmt.Errorf("%s: ca needs kvds://", from)
	}
	if u.User != nil && !c.Flags().Changed("user") {
		l.user = u.User.Username()
		if password, ok := u.User.Password(); ok {
			l.password = password
		}
	}
	return nil
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
	if !l.tls && l.ca == "" && l.cert == "" && l.key == "" {
		return nil, nil
	}
	if (l.cert == "") != (l.key == "") {
		missing := "--tls-key"
		if l.cert == "" {
			missing = "--tls-cert"
		}
		return nil, fmt.Errorf("%w: %s is missing: certificate and key belong together", kv.ErrInvalidOption, missing)
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
