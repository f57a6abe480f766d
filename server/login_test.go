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

	"github.com/nats-io/nkeys"
)

var (
	here  = netip.MustParsePrefix("192.0.2.1/32")
	there = netip.MustParsePrefix("192.0.2.2/32")
)

// try logs in and returns the error's text without that of its kind.
func try(t *testing.T, l *Logins, from netip.Prefix, name, password string) string {
	t.Helper()
	s, err := l.password(t.Context(), from, name, password)
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
	l := NewLogins(mustParse(t, "alice "+hash(t, "secret")+" b=get\nkim "+publicKey(t)+" b=get\n"))
	for _, tt := range []struct{ name, password, want string }{
		{"alice", "secret", ""},
		{"alice", "secret", ""}, // verified a moment ago
		{"alice", "Secret", wrong},
		{"alice", "", wrong},
		{"bob", "secret", wrong},
		{"", "", wrong},
		{"bob", "of nobody", wrong}, // the password that the hash for unknown names is made of
		{"kim", "of nobody", wrong}, // has a key
		{"kim", "", wrong},
	} {
		if got := try(t, l, here, tt.name, tt.password); got != tt.want {
			t.Errorf("%s, %q: %q, want %q", tt.name, tt.password, got, tt.want)
		}
	}
}

// TestWrongTriesDoNotLockOthersOut has somebody guess four passwords a second, and clients
// log in beside that from the same address, as the same user too.
func TestWrongTriesDoNotLockOthersOut(t *testing.T) {
	file := "alice " + hash(t, "secret") + " b=get\nbob " + hash(t, "word") + " b=get\n"
	synctest.Test(t, func(t *testing.T) {
		l := NewLogins(mustParse(t, file))
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		guesses := 0
		all.Go(func() {
			for ; ctx.Err() == nil; guesses++ {
				guess := fmt.Sprint("guess ", guesses)
				all.Go(func() { _, _ = l.password(ctx, here, "alice", guess) })
				pass(time.Second / 4)
			}
		})
		for i := range 100 {
			for name, password := range map[string]string{"alice": "secret", "bob": "word"} {
				l.verified.clear() // as if it were the first time
				start := time.Now()
				if got := try(t, l, here, name, password); got != "" || time.Since(start) > LoginTime {
					t.Errorf("login %d of %s after %v: %q", i, name, time.Since(start), got)
				}
			}
			pass(700 * time.Millisecond)
		}
		cancel()
		all.Wait()
		if guesses < 250 {
			t.Errorf("%d guesses were made", guesses)
		}
	})
}

// TestWrongTriesAreSlow counts the passwords of one user that somebody can try who sends
// as many as the server takes.
func TestWrongTriesAreSlow(t *testing.T) {
	file := "alice " + hash(t, "secret") + " b=get\n"
	synctest.Test(t, func(t *testing.T) {
		l := NewLogins(mustParse(t, file))
		const seconds = 60
		looked, refused := 0, 0
		for end := time.Now().Add(seconds * time.Second); time.Now().Before(end); {
			switch got := try(t, l, here, "alice", fmt.Sprint("guess ", looked)); {
			case got == wrong:
				looked++
			case strings.HasPrefix(got, "too many attempts, try again in "):
				refused++
			default:
				t.Fatal(got)
			}
		}
		if most := guessesFree + seconds*int(time.Second/guessPause); looked > most || looked < most/2 {
			t.Errorf("%d passwords were looked at in %d s, at most %d should", looked, seconds, most)
		}
		// Many at once are refused, and do not make the others wait longer.
		var all sync.WaitGroup
		var mu sync.Mutex
		for i := range 100 {
			all.Go(func() {
				_, err := l.password(t.Context(), here, "alice", fmt.Sprint("at once ", i))
				mu.Lock()
				defer mu.Unlock()
				if !errors.Is(err, errWrong) {
					refused++
				}
			})
		}
		all.Wait()
		if most := 100 - guessesFree; refused < most-guessesFree {
			t.Errorf("%d of 100 at once were refused", refused)
		}
		if got := try(t, l, there, "alice", "secret"); got != "" {
			t.Errorf("another address: %q", got)
		}
	})
}

func TestPairsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g guesses
		g.init()
		for i := range pairsMax * 2 {
			if _, err := g.reserve(newPair(here, fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		if len(g.byPair) != pairsMax {
			t.Errorf("%d pairs are remembered", len(g.byPair))
		}
		pass(guessPause + time.Millisecond)
		if _, err := g.reserve(newPair(here, "alice")); err != nil || len(g.byPair) != 1 {
			t.Errorf("%d pairs are remembered after a long time, error %v", len(g.byPair), err)
		}
		if long := strings.Repeat("a", 1<<20); len(newPair(here, long).name) > userNameMax+1 {
			t.Error("a long name is remembered whole")
		}
	})
}

// TestAVerifiedPasswordCostsNoHash takes all turns to hash away.
func TestAVerifiedPasswordCostsNoHash(t *testing.T) {
	file := "alice " + hash(t, "secret") + " b=get\n"
	synctest.Test(t, func(t *testing.T) {
		l := NewLogins(mustParse(t, file))
		if got := try(t, l, here, "alice", "secret"); got != "" {
			t.Fatal(got)
		}
		for range l.turns.free {
			if err := l.turns.take(t.Context(), there); err != nil {
				t.Fatal(err)
			}
		}
		needsHash := func(name, password string) bool {
			ctx, cancel := context.WithTimeout(t.Context(), LoginTime)
			defer cancel()
			_, err := l.password(ctx, here, name, password)
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Fatal(err)
			}
			return err != nil
		}
		pass(verifiedTime - 2*time.Second)
		if needsHash("alice", "secret") {
			t.Error("a password that was verified needs a hash")
		}
		if !needsHash("alice", "Secret") {
			t.Error("another password needs no hash")
		}
		pass(2 * time.Second)
		if !needsHash("alice", "secret") {
			t.Error("a password needs no hash after a minute")
		}
		l.turns.release()
		if got := try(t, l, here, "alice", "secret"); got != "" {
			t.Fatal(got)
		}
		if err := l.turns.take(t.Context(), there); err != nil {
			t.Fatal(err)
		}
		if err := l.SetUsers(mustParse(t, file)); err != nil {
			t.Fatal(err)
		}
		if !needsHash("alice", "secret") {
			t.Error("a password needs no hash after the users were read again")
		}
	})
}

// TestAddressesTakeTurns has one address send more than can be hashed.
func TestAddressesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ts turns
		ts.init()
		for range ts.free {
			if err := ts.take(t.Context(), here); err != nil {
				t.Fatal(err)
			}
		}
		order := make(chan netip.Prefix, waitingMax+1)
		wait := func(from netip.Prefix) {
			go func() {
				if ts.take(t.Context(), from) == nil {
					order <- from
				}
			}()
			synctest.Wait()
		}
		for range waitingMax {
			wait(here)
		}
		wait(there)
		if err := ts.take(t.Context(), here); !errors.Is(err, ErrLogin) {
			t.Errorf("the attempt %d of one address: %v", waitingMax+1, err)
		}
		for i := range waitingMax + 1 {
			ts.release()
			if from := <-order; (from == there) != (i == 1) {
				t.Errorf("turn %d is that of %v", i, from)
			}
		}
		if len(ts.waiting) != 0 || len(ts.order) != 0 {
			t.Errorf("left: %v", ts.waiting)
		}
	})
}

// TestOneClientCostsOneHash has many connections of a client log in at a time.
func TestOneClientCostsOneHash(t *testing.T) {
	l := NewLogins(mustParse(t, "alice "+hash(t, "secret")+" b=get\n"))
	var all sync.WaitGroup
	for range 1000 {
		all.Go(func() {
			if _, err := l.password(t.Context(), here, "alice", "secret"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if len(l.running) != 0 {
		t.Errorf("%d checks are still under way", len(l.running))
	}
}

func TestALoginThatNobodyWaitsFor(t *testing.T) {
	l := NewLogins(mustParse(t, "alice "+hash(t, "secret")+" b=get\n"))
	free := l.turns.free
	for range free {
		if err := l.turns.take(t.Context(), there); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.password(ctx, here, "alice", "secret"); !errors.Is(err, ErrLogin) || !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	for range free {
		l.turns.release()
	}
	if l.turns.free != free || len(l.turns.order) != 0 {
		t.Errorf("%d turns are free of %d", l.turns.free, free)
	}
}

// publicKey makes the public key of a user.
func publicKey(t testing.TB) string {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	key, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestLoginWithAKey(t *testing.T) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	key, _ := pair.PublicKey()
	l := NewLogins(mustParse(t, "kim "+key+" b=get\nalice "+hash(t, "secret")+" b=get\n"))
	nonce := []byte("a nonce")
	signature, err := pair.Sign(nonce)
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.key(key, nonce, signature)
	if err != nil || s.user.name != "kim" {
		t.Fatalf("session %+v, error %v", s, err)
	}
	if n := s.renew(mustParse(t, "kim "+publicKey(t)+" b=get\n")); n.user != nil {
		t.Error("a user with another key has permissions")
	}
	for _, tt := range []struct {
		key       string
		nonce     string
		signature []byte
	}{
		{publicKey(t), "a nonce", signature},
		{key, "another nonce", signature},
		{key, "a nonce", nil},
		{"alice", "a nonce", signature},
		{"", "", nil},
	} {
		if _, err := l.key(tt.key, []byte(tt.nonce), tt.signature); !errors.Is(err, errWrongKey) {
			t.Errorf("key %q, nonce %q: error %v", tt.key, tt.nonce, err)
		}
	}
}

// Attempts that are refused without checking the password cost an attacker nothing. So
// they must not fill the log.
func TestRefusedAttemptsAreNotLoggedEach(t *testing.T) {
	users := mustParse(t, "alice "+hash(t, "secret")+" b=get\n")
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		srv, err := New(nil, Options{Users: users, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		end, _ := net.Pipe()
		defer end.Close()
		const attempts = 100
		var all sync.WaitGroup
		for i := range attempts {
			c := &Conn{Conn: end, server: srv, from: here}
			all.Go(func() {
				if err := c.Login(t.Context(), "alice", fmt.Sprint("wrong ", i)); !errors.Is(err, ErrLogin) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		looked := strings.Count(log.String(), wrong)
		if all := strings.Count(log.String(), "level=WARN"); looked < guessesFree || looked > attempts/2 || all != looked+1 {
			t.Errorf("%d attempts made %d lines, %d of them for passwords that were looked at:\n%s", attempts, all, looked, log.String())
		}
	})
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
