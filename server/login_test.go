package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var (
	here  = netip.MustParsePrefix("192.0.2.1/32")
	there = netip.MustParsePrefix("192.0.2.2/32")
)

// try logs in and returns the error's text without that of its kind.
func try(t *testing.T, l *login, from netip.Prefix, name, password string) string {
	t.Helper()
	s, err := l.check(t.Context(), from, name, password)
	if err == nil {
		if s.user == nil || s.user.name != name {
			t.Fatalf("%s is logged in as %+v", name, s)
		}
		return ""
	}
	if !errors.Is(err, ErrLogin) || s != nil {
		t.Fatalf("session %v, error %v", s, err)
	}
	return strings.TrimPrefix(err.Error(), "login failed: ")
}

const wrong = "wrong name or password"

func TestLogin(t *testing.T) {
	l := newLogin(mustParse(t, "alice "+hash(t, "secret")+" b=get\n"))
	for _, tt := range []struct{ name, password, want string }{
		{"alice", "secret", ""},
		{"alice", "Secret", wrong},
		{"alice", "", wrong},
		{"bob", "secret", wrong},
		{"", "", wrong},
		{"bob", "of nobody", wrong}, // the password that the hash for unknown names is made of
	} {
		l.succeeded(here) // forget failures
		if got := try(t, l, here, tt.name, tt.password); got != tt.want {
			t.Errorf("%s, %q: %q, want %q", tt.name, tt.password, got, tt.want)
		}
	}
}

func TestFailuresMakeAnAddressWait(t *testing.T) {
	file := "alice " + hash(t, "secret") + " b=get\n"
	synctest.Test(t, func(t *testing.T) {
		l := newLogin(mustParse(t, file))
		for range failuresFree {
			if got := try(t, l, here, "alice", "wrong"); got != wrong {
				t.Fatal(got)
			}
		}
		for _, wait := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
			wait *= time.Second
			if got := try(t, l, here, "bob", "wrong"); got != wrong {
				t.Fatal(got)
			}
			// The right password has to wait too, and attempts during the wait do not
			// prolong it.
			if got, want := try(t, l, here, "alice", "secret"), fmt.Sprintf("too many failures, try again in %v", wait); got != want {
				t.Fatalf("%q, want %q", got, want)
			}
			if got := try(t, l, there, "alice", "secret"); got != "" {
				t.Fatalf("another address: %q", got)
			}
			pass(wait - time.Millisecond)
			if got := try(t, l, here, "alice", "secret"); !strings.HasPrefix(got, "too many failures") {
				t.Fatalf("before the time: %q", got)
			}
			pass(time.Millisecond)
		}
		if got := try(t, l, here, "alice", "secret"); got != "" {
			t.Fatal(got)
		}
		if got := try(t, l, here, "alice", "wrong"); got != wrong {
			t.Fatalf("after a success: %q", got)
		}
	})
}

func TestFailuresAreForgotten(t *testing.T) {
	file := "alice " + hash(t, "secret") + " b=get\n"
	synctest.Test(t, func(t *testing.T) {
		l := newLogin(mustParse(t, file))
		for range failuresFree + 1 {
			try(t, l, here, "alice", "wrong")
		}
		pass(failuresForget + time.Second)
		for range failuresFree {
			if got := try(t, l, here, "alice", "wrong"); got != wrong {
				t.Fatal(got)
			}
		}
		// The number of remembered addresses is bounded. Those without attempts for the
		// longest time are forgotten first.
		for i := range failuresMax * 2 {
			l.failed(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32))
		}
		if len(l.failures) > failuresMax {
			t.Errorf("%d addresses are remembered", len(l.failures))
		}
		pass(failuresForget + time.Second)
		l.failed(here)
		if len(l.failures) != 1 {
			t.Errorf("%d addresses are remembered after a long time", len(l.failures))
		}
	})
}

// TestAttemptsAtOnceCountToo tries passwords on many connections at a time.
func TestAttemptsAtOnceCountToo(t *testing.T) {
	l := newLogin(mustParse(t, "alice "+hash(t, "secret")+" b=get\n"))
	var mu sync.Mutex
	looked := 0
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if _, err := l.check(t.Context(), here, "alice", "wrong"); errors.Is(err, errWrong) {
				mu.Lock()
				looked++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if most := failuresFree + cap(l.slots); looked < 1 || looked > most {
		t.Errorf("%d of 100 guesses were looked at, at most %d should", looked, most)
	}
}

func TestALoginThatNobodyWaitsFor(t *testing.T) {
	l := newLogin(mustParse(t, "alice "+hash(t, "secret")+" b=get\n"))
	for range cap(l.slots) {
		l.slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.check(ctx, here, "alice", "secret"); !errors.Is(err, ErrLogin) || !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// Attempts that are refused without checking the password cost an attacker nothing. So
// they must not fill the log.
func TestRefusedAttemptsAreNotLoggedEach(t *testing.T) {
	users := mustParse(t, "alice "+hash(t, "secret")+" b=get\n")
	var log bytes.Buffer
	srv, err := New(nil, Options{Users: users, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	end, _ := net.Pipe()
	c := &Conn{Conn: end, server: srv, from: here}
	defer c.Close()
	const attempts = 100
	for range attempts {
		if err := c.Login(t.Context(), "alice", "wrong"); !errors.Is(err, ErrLogin) {
			t.Fatal(err)
		}
	}
	looked := strings.Count(log.String(), wrong)
	if all := strings.Count(log.String(), "level=WARN"); looked <= failuresFree-1 || all > looked+1 {
		t.Errorf("%d attempts made %d lines, %d of them for passwords that were looked at:\n%s", attempts, all, looked, log.String())
	}
}

func TestSetUsers(t *testing.T) {
	users := mustParse(t, "alice "+hash(t, "secret")+" b=get\n")
	with, err := New(nil, Options{Users: users})
	if err != nil {
		t.Fatal(err)
	}
	without, err := New(nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if with.SetUsers(users) != nil {
		t.Error("users cannot be replaced")
	}
	if with.SetUsers(nil) == nil {
		t.Error("users can be taken away")
	}
	if without.SetUsers(users) == nil {
		t.Error("users can be given to a server without")
	}
}
