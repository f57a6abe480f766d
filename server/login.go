package server

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nkeys"
	"golang.org/x/crypto/bcrypt"
)

// ErrLogin is matched by every error of a login.
var ErrLogin = errors.New("login failed")

var (
	errWrong    = fmt.Errorf("%w: wrong name or password", ErrLogin)
	errWrongKey = fmt.Errorf("%w: unknown key or wrong signature", ErrLogin)
	errNoUsers  = fmt.Errorf("%w: this server has no users", ErrLogin)
)

// Logins checks the logins of one or more servers, which then share users and limits. All
// methods are safe for concurrent use.
type Logins struct {
	users    atomic.Pointer[Users] // nil: no users, and no login
	guesses  guesses
	turns    turns
	verified verified
	counts   loginCounts

	mu      sync.Mutex
	running map[attempt]*check
}

// attempt is a login that may be under way on several connections.
type attempt struct {
	from netip.Prefix
	mac  mac // of name and password
}

// check is the outcome of an attempt, once done is closed.
type check struct {
	done    chan struct{}
	session *session
	err     error
}

// session is a user who has logged in. Immutable.
type session struct {
	users      *Users // that contain user
	user       *user  // nil: removed, or with another password or key since
	name       string
	credential string
}

// NewLogins returns the logins of users; nil stands for a server without users.
func NewLogins(users *Users) *Logins {
	l := &Logins{running: map[attempt]*check{}}
	l.guesses.init()
	l.turns.init()
	l.verified.init()
	l.users.Store(users)
	return l
}

// SetUsers replaces the users, also for open connections, and forgets which passwords were
// verified. It returns an error if users is nil where there are users, or not nil where there
// are none.
func (l *Logins) SetUsers(users *Users) error {
	if users == nil || l.users.Load() == nil {
		return errors.New("server: users cannot be switched on or off while the server runs")
	}
	l.users.Store(users)
	l.verified.clear()
	return nil
}

// password returns the session of a user, or an error matching ErrLogin. Connections from one
// address that try the same at the same time share one check, so that many connections of one
// client cost one hash.
func (l *Logins) password(ctx context.Context, from netip.Prefix, name, password string) (*session, error) {
	if l.users.Load() == nil {
		return nil, errNoUsers
	}
	id := attempt{from, l.verified.mac(name, password)}
	for {
		c, first := l.join(id)
		if first {
			c.session, c.err = l.verify(ctx, id, name, password)
			l.leave(id, c)
			return c.session, c.err
		}
		select {
		case <-c.done:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrLogin, ctx.Err())
		}
		if c.err == nil || errors.Is(c.err, errWrong) {
			return c.session, c.err
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%w: %w", ErrLogin, ctx.Err())
		}
	}
}

// join returns the check of an attempt that is under way, or begins one.
func (l *Logins) join(id attempt) (c *check, first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.running[id]; c != nil {
		return c, false
	}
	c = &check{done: make(chan struct{})}
	l.running[id] = c
	return c, true
}

func (l *Logins) leave(id attempt, c *check) {
	l.mu.Lock()
	delete(l.running, id)
	l.mu.Unlock()
	close(c.done)
}

// verify compares a password with the hash of the user. It takes the same time for an
// unknown name. A password that was verified a moment ago needs no hash.
func (l *Logins) verify(ctx context.Context, id attempt, name, password string) (*session, error) {
	if err := l.guesses.wait(ctx, id.from, name); err != nil {
		return nil, err
	}
	users := l.users.Load()
	u := users.byName[name]
	if u == nil || !l.verified.has(u, id.mac) {
		if err := l.turns.take(ctx, id.from); err != nil {
			return nil, err
		}
		right := users.compare(u, password)
		l.turns.release()
		if !right {
			return nil, errWrong
		}
		l.verified.add(u, id.mac)
	}
	l.guesses.forget(id.from, name)
	return newSession(users, u), nil
}

// compare reports whether a password is that of the user. It compares it with some hash in
// any case.
func (users *Users) compare(u *user, password string) bool {
	hash := users.decoy
	if u != nil && !u.hasKey {
		hash = []byte(u.credential)
	}
	err := bcrypt.CompareHashAndPassword(hash, []byte(password))
	return err == nil && u != nil && !u.hasKey
}

// key returns the session of the user with that public key, who signed the nonce.
func (l *Logins) key(publicKey string, nonce, signature []byte) (*session, error) {
	users := l.users.Load()
	if users == nil {
		return nil, errNoUsers
	}
	u := users.byKey[publicKey]
	if u == nil {
		return nil, errWrongKey
	}
	key, err := nkeys.FromPublicKey(publicKey)
	if err != nil || key.Verify(nonce, signature) != nil {
		return nil, errWrongKey
	}
	return newSession(users, u), nil
}

func newSession(users *Users, u *user) *session {
	return &session{users: users, user: u, name: u.name, credential: u.credential}
}

// renew finds the user of the session among new users.
func (s *session) renew(users *Users) *session {
	n := &session{users: users, name: s.name, credential: s.credential}
	if u := users.byName[s.name]; u != nil && u.credential == s.credential {
		n.user = u
	}
	return n
}
