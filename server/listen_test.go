package server

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
)

func TestListen(t *testing.T) {
	users := mustParse(t, "alice "+hash(t, "secret")+" b=get\n")
	for _, tt := range []struct {
		opts    Options
		exposed bool
	}{
		{Options{}, false},
		{Options{Addr: "127.0.0.1:0"}, false},
		{Options{Addr: "localhost:0"}, false},
		{Options{Addr: ":0"}, true},
		{Options{Addr: "0.0.0.0:0"}, true},
		{Options{Addr: "[::]:0"}, true},
		{Options{Addr: ":0", Users: users}, true},
		{Options{Addr: ":0", TLS: &tls.Config{}}, true},
		{Options{Addr: "0.0.0.0:0", Users: users, TLS: &tls.Config{}}, false},
		{Options{Addr: "0.0.0.0:0", Insecure: true}, false},
	} {
		s, err := New(echo{}, tt.opts)
		if err != nil {
			t.Fatal(err)
		}
		l, err := s.Listen()
		if (err != nil) != tt.exposed || errors.Is(err, ErrExposed) != tt.exposed {
			t.Errorf("%q: %v", tt.opts.Addr, err)
		}
		if err == nil {
			l.Close()
		}
	}
}

func TestAPortInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	s, err := New(echo{}, Options{Addr: taken.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.Listen()
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), fmt.Sprintf("sport = :%d", port)) {
		t.Errorf("error %v", err)
	}
}

func TestAnAddressThatIsNone(t *testing.T) {
	for _, addr := range []string{"127.0.0.1", "127.0.0.1:http:x", "nowhere.invalid:1", "192.0.2.1:1"} {
		s, err := New(echo{}, Options{Addr: addr, Insecure: true})
		if err != nil {
			t.Fatal(err)
		}
		if l, err := s.Listen(); err == nil {
			l.Close()
			t.Errorf("%q is listened to", addr)
		}
	}
}

func TestAddressOf(t *testing.T) {
	for ip, want := range map[string]string{
		"127.0.0.1": "127.0.0.1/32", "192.0.2.7": "192.0.2.7/32", "::ffff:192.0.2.7": "192.0.2.7/32", "::1": "::1/128",
		"2001:db8::1": "2001:db8::/64", "2001:db8:0:0:ffff::1": "2001:db8::/64", "2001:db8:0:1::1": "2001:db8:0:1::/64",
	} {
		if got := addressOf(&net.TCPAddr{IP: net.ParseIP(ip)}); got.String() != want {
			t.Errorf("%s counts for %s, want %s", ip, got, want)
		}
	}
	if got := addressOf(&net.UnixAddr{}); !got.Addr().IsLoopback() {
		t.Errorf("a socket file counts for %s", got)
	}
}
