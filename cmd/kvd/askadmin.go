package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"

	"github.com/spf13/cobra"

	"kvd/internal/lineproto"
	"kvd/kv"
	"kvd/server/admin"
)

// errNoConn is the error for the ID of a connection that is not open.
var errNoConn = errors.New("no such connection")

// adminAnswerMax bounds an answer of the admin API in bytes: some 50,000 connections.
const adminAnswerMax = 16 << 20

// addAdmin gives a command the flags that say where the admin API of a server is. The user and
// the time to wait are those of the target.
func (a *app) addAdmin(c *cobra.Command, addr *string) {
	f := c.Flags()
	f.StringVar(addr, "admin", a.env("KVD_ADMIN", adminDefault), "admin address of the server (KVD_ADMIN)")
	if f.Lookup("user") != nil {
		return
	}
	a.target.login.addUser(a, c)
	a.target.timeout = ageFlag(timeoutDefault)
	f.Var(&a.target.timeout, "timeout", "time to wait for the server")
}

// adminURL returns the URL of a path on the admin listener of a server. For an address of all
// interfaces it is on the loopback interface.
func adminURL(addr, path string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("%w: --admin %q is not HOST:PORT", kv.ErrInvalidOption, addr)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port) + path, nil
}

// askAdmin sends a request to the admin API, with a body in JSON unless it is nil, and decodes the
// answer.
func (a *app) askAdmin(ctx context.Context, addr, method, path string, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, a.target.wait())
	defer cancel()
	request, err := a.adminRequest(ctx, addr, method, path, body)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return explainAdmin(addr, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, adminAnswerMax))
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return refusalOf(addr, response, text)
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return fmt.Errorf("the answer of %s is not that of kvd: %w", addr, err)
	}
	return nil
}

func (a *app) adminRequest(ctx context.Context, addr, method, path string, body any) (*http.Request, error) {
	url, err := adminURL(addr, path)
	if err != nil {
		return nil, err
	}
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequestWithContext(ctx, method, url, content)
	if err != nil {
		return nil, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if l := &a.target.login; l.user != "" {
		password, err := l.secret()
		if err != nil {
			return nil, err
		}
		request.SetBasicAuth(l.user, password)
	}
	return request, nil
}

// explainAdmin says how to name the address of a server that is not there.
func explainAdmin(addr string, err error) error {
	if errors.Is(err, syscall.ECONNREFUSED) {
		return &hintedError{fmt.Errorf("cannot connect to %s: %w (start the server, or name its admin address with --admin)", addr, syscall.ECONNREFUSED)}
	}
	return err
}

// adminErrors are the errors that the codes of the API stand for.
var adminErrors = map[admin.Code]error{
	admin.CodeAuthRequired: lineproto.ErrAuthRequired,
	admin.CodeAuthFailed:   lineproto.ErrAuthFailed,
	admin.CodeDenied:       lineproto.ErrDenied,
	admin.CodeInvalid:      kv.ErrInvalidOption,
	admin.CodeNotFound:     errNoConn,
	admin.CodeNotReady:     errUnhealthy,
}

// adminError is an error of the API. Its text is the server's.
type adminError struct {
	text string
	kind error
}

func (e *adminError) Error() string { return e.text }
func (e *adminError) Unwrap() error { return e.kind }

// refusalOf returns the error of an answer that is not 200.
func refusalOf(addr string, response *http.Response, text []byte) error {
	var refusal admin.APIError
	if json.Unmarshal(text, &refusal) != nil || refusal.Code == "" {
		return fmt.Errorf("%s answers %s: is that the admin address of kvd (--admin)?", addr, response.Status)
	}
	return &adminError{refusal.Message, adminErrors[refusal.Code]}
}
