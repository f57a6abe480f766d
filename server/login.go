package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// ErrLogin is matched by every error of a login.
var ErrLogin = errors.New("login failed")

var errWrong = fmt.Errorf("%w: wrong name or password", ErrLogin)

// login checks passwords.
type login struct {
	users atomic.Pointer[Users] // nil: no users, and no login
	slots chan struct{}         // a token for each hash being computed

	mu       sync.Mutex
	failures map[netip.Prefix]*failures
}

// failures are the failed logins of one address.
type failures struct {
	count int
	last  time.Time
	until time.Time // attempts before it are refused without a check
}

const (
	failuresFree   = 3 // in a row, without a wait
	waitFirst      = time.Second
	waitMax        = 30 * time.Second
	failuresForget = 10 * time.Minute
	failuresMax    = 4096 // addresses remembered
)

// session is a user who has logged in. Immutable.
type session struct {
	users *Users // that contain user
	user  *user  // nil: removed, or with another password since
	name  string
	hash  []byte
}

func newLogin(users *Users) *login {
	l := &login{
		slots:    make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)), // hashing must leave processors for other work
		failures: map[netip.Prefix]*failures{},
	}
	l.users.Store(users)
	return l
}

// check returns the session of a user, or an error matching ErrLogin. It takes the same
// time for an unknown name.
func (l *login) check(ctx context.Context, from netip.Prefix, name, password string) (*session, error) {
	users := l.users.Load()
	if users == nil {
		return nil, fmt.Errorf("%w: this server has no users", ErrLogin)
	}
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrLogin, ctx.Err())
	}
	// After the wait for the slot, so that waiting attempts count the failures of each
	// other.
	if err := l.mayTry(from); err != nil {
		return nil, err
	}
	u, hash := users.byName[name], users.decoy
	if u != nil {
		hash = u.hash
	}
	if err := bcrypt.CompareHashAndPassword(hash, []byte(password)); err != nil || u == nil {
		l.failed(from)
		return nil, errWrong
	}
	l.succeeded(from)
	return &session{users: users, user: u, name: u.name, hash: u.hash}, nil
}

// renew finds the user of the session among new users.
func (s *session) renew(users *Users) *session {
	n := &session{users: users, name: s.name, hash: s.hash}
	if u := users.byName[s.name]; u != nil && bytes.Equal(u.hash, s.hash) {
		n.user = u
	}
	return n
}

// mayTry returns an error if the address must wait before its next attempt.
func (l *login) mayTry(from netip.Prefix) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.failures[from]
	if f == nil {
		return nil
	}
	if wait := time.Until(f.until); wait > 0 {
		return fmt.Errorf("%w: too many failures, try again in %v", ErrLogin, wait.Round(time.Second/10))
	}
	return nil
}

func (l *login) failed(from netip.Prefix) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	f := l.failures[from]
	if f == nil || now.Sub(f.last) > failuresForget {
		l.makeRoomLocked(now)
		f = &failures{}
		l.failures[from] = f
	}
	f.count++
	f.last = now
	if n := f.count - failuresFree; n > 0 {
		f.until = now.Add(min(waitFirst<<min(n-1, 10), waitMax))
	}
}

func (l *login) succeeded(from netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.failures, from)
}

// makeRoomLocked removes addresses so that one more fits: those without recent
// failures, otherwise any one.
func (l *login) makeRoomLocked(now time.Time) {
	if len(l.failures) < failuresMax {
		return
	}
	for addr, f := range l.failures {
		if now.Sub(f.last) > failuresForget {
			delete(l.failures, addr)
		}
	}
	for addr := range l.failures {
		if len(l.failures) < failuresMax {
			return
		}
		delete(l.failures, addr)
	}
}
