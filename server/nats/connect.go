package nats

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net"
	"runtime"
	"strings"
	"time"

	"kvd/server"
	"kvd/server/nats/wire"
)

// serverInfo is the content of INFO.
type serverInfo struct {
	ServerID     string `json:"server_id"`
	ServerName   string `json:"server_name"`
	Version      string `json:"version"`
	Proto        int    `json:"proto"`
	Go           string `json:"go"`
	Host         string `json:"host"`
	Port         int    `json:"port"`
	Headers      bool   `json:"headers"`
	AuthRequired bool   `json:"auth_required,omitempty"`
	TLSRequired  bool   `json:"tls_required,omitempty"`
	MaxPayload   int    `json:"max_payload"`
	JetStream    bool   `json:"jetstream"`
	ClientID     uint64 `json:"client_id"`
	ClientIP     string `json:"client_ip"`
	APILevel     int    `json:"api_lvl"`
	Nonce        string `json:"nonce,omitempty"` // for users with a key to sign
}

// apiLevel is the version of JetStream's API that kvd has; level 1 has TTLs of messages.
const apiLevel = 1

// snapshotLevel is that of STREAM.SNAPSHOT: its window_size came with it.
const snapshotLevel = 3

// sendInfo sends INFO. If the server has TLS, the handshake follows.
func (c *conn) sendInfo() error {
	host, port := address(c.LocalAddr())
	if c.HasUsers() {
		c.nonce = newNonce()
	}
	clientIP, _ := address(c.RemoteAddr())
	info, err := json.Marshal(serverInfo{
		ServerID: c.front.id, ServerName: c.front.id, Version: c.front.version, Proto: 1, Go: runtime.Version(),
		Host: host, Port: port, Headers: true, AuthRequired: c.HasUsers(), TLSRequired: c.HasTLS(),
		MaxPayload: c.front.maxPayload, JetStream: true, ClientID: c.id, ClientIP: clientIP, APILevel: apiLevel,
		Nonce: c.nonce,
	})
	if err != nil {
		return err
	}
	if err := c.WritePlain([]byte("INFO " + string(info) + "\r\n")); err != nil {
		return err
	}
	return c.StartTLS(c.ctx)
}

// address returns host and port of an address. A pipe is 127.0.0.1 and port 0.
func address(a net.Addr) (string, int) {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.IP.String(), tcp.Port
	}
	return "127.0.0.1", 0
}

// connectOptions is the content of CONNECT.
type connectOptions struct {
	Verbose      bool   `json:"verbose"`
	Pedantic     bool   `json:"pedantic"`
	Echo         bool   `json:"echo"`
	Headers      bool   `json:"headers"`
	NoResponders bool   `json:"no_responders"`
	User         string `json:"user"`
	Password     string `json:"pass"`
	Token        string `json:"auth_token"`
	Key          string `json:"nkey"`
	Signature    string `json:"sig"`
}

// defaultConnectOptions are the options before CONNECT, and those that CONNECT leaves out.
var defaultConnectOptions = connectOptions{Verbose: true, Echo: true}

// connect carries out CONNECT.
func (c *conn) connect(body []byte) error {
	options := defaultConnectOptions
	if err := json.Unmarshal(bytes.TrimSpace(body), &options); err != nil {
		return wire.ErrMalformed
	}
	if options.NoResponders && !options.Headers {
		return wire.ErrNoHeaders
	}
	if c.HasUsers() {
		if err := c.login(&options); err != nil {
			return err
		}
	}
	options.Password, options.Token, options.Signature = "", "", ""
	c.options = options
	c.headers.Store(options.Headers)
	return nil
}

// tokenUser is the user whose password a token without a name is.
const tokenUser = "token"

// login logs a user in, and gives the connection the limits of one that is logged in.
func (c *conn) login(o *connectOptions) error {
	first := c.NeedsLogin()
	check := c.checkPassword
	if o.Key != "" {
		check = c.checkSignature
	}
	if err := check(o); err != nil {
		return wire.ErrAuthorization
	}
	c.user = c.User()
	if first {
		c.in.Grow()
		c.in.Expect(time.Time{})
	}
	return nil
}

// checkSignature logs in the user with the key that signed the nonce. Another CONNECT cannot
// use the nonce again.
func (c *conn) checkSignature(o *connectOptions) error {
	signature, err := base64.RawURLEncoding.DecodeString(o.Signature)
	if err != nil { // some clients pad
		signature, err = base64.StdEncoding.DecodeString(o.Signature)
	}
	nonce := c.nonce
	c.nonce = ""
	if err != nil || nonce == "" {
		return wire.ErrAuthorization
	}
	return c.LoginKey(o.Key, []byte(nonce), signature)
}

// newNonce returns 16 random bytes as text.
func newNonce() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// checkPassword logs in a user by name and password or by a token: name:password, or the
// password of the user called "token".
func (c *conn) checkPassword(o *connectOptions) error {
	name, password := o.User, o.Password
	if name == "" {
		var named bool
		if name, password, named = strings.Cut(o.Token, ":"); !named {
			name, password = tokenUser, o.Token
		}
	}
	ctx, cancel := context.WithTimeout(c.ctx, server.LoginTime)
	defer cancel()
	return c.Login(ctx, name, password)
}
