package client

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"kvd/kv"
	"kvd/server"
)

// TestUsersOverTLS logs in to a real server with a certificate, on a connection of
// calls and on one of a listing.
func TestUsersOverTLS(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("correct horse"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	users, err := server.ParseUsers(strings.NewReader(fmt.Sprintf("alice %s open=get,put,admin\n", hash)))
	if err != nil {
		t.Fatal(err)
	}
	certified := httptest.NewTLSServer(nil) // for its certificate
	defer certified.Close()
	roots := x509.NewCertPool()
	roots.AddCert(certified.Certificate())

	store := openStore(t, t.TempDir())
	s := &realServer{t: t, addr: "127.0.0.1:0", store: store, close: store.Close}
	s.opts = server.Options{Users: users, TLS: &tls.Config{Certificates: certified.TLS.Certificates}}
	s.start()
	defer func() {
		s.stop()
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}()

	trusting := &tls.Config{RootCAs: roots}
	for what, opts := range map[string]Options{
		"without TLS":           {User: "alice", Password: "correct horse"},
		"without trust":         {User: "alice", Password: "correct horse", TLS: &tls.Config{}},
		"without a name":        {TLS: trusting},
		"with another name":     {User: "bob", Password: "correct horse", TLS: trusting},
		"with another password": {User: "alice", Password: "wrong horse", TLS: trusting},
	} {
		_, err := Dial(t.Context(), s.addr, opts)
		if !errors.As(err, new(*ConnError)) {
			t.Errorf("%s: error is %v, want a ConnError", what, err)
		}
	}
	c := s.dial(t, Options{User: "alice", Password: "correct horse", TLS: trusting})
	defer closeClient(t, c)
	b := newBucket(t, c, kv.Config{Bucket: "open"})
	if _, err := b.PutString(t.Context(), "k", "v"); err != nil {
		t.Error(err)
	}
	if keys, err := collect(b.Keys(t.Context())); err != nil || !slices.Equal(keys, []string{"k"}) {
		t.Errorf("keys are %q, %v", keys, err)
	}
	if _, err := b.Delete(t.Context(), "k"); !errors.Is(err, ErrDenied) {
		t.Errorf("delete: error is %v, want one that matches %q", err, ErrDenied)
	}
	if _, err := c.CreateBucket(t.Context(), kv.Config{Bucket: "closed"}); !errors.Is(err, ErrDenied) {
		t.Errorf("create: error is %v, want one that matches %q", err, ErrDenied)
	}
	if n, err := b.Count(t.Context(), "k"); n != 1 || err != nil {
		t.Errorf("count is %d, %v", n, err)
	}
}
