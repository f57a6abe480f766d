package server

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"
)

// verified remembers for a minute that a password was right, by a keyed hash of it: clients
// that connect often cost one bcrypt hash a minute. The key is made at the start and leaves
// the process as little as the password.
type verified struct {
	key [sha256.Size]byte

	mu     sync.Mutex
	byName map[string]verification // at most one for each user
}

// mac is the keyed hash of a name and a password.
type mac [sha256.Size]byte

type verification struct {
	mac        mac
	credential string // that the password was compared with
	until      time.Time
}

const verifiedTime = time.Minute

func (v *verified) init() {
	_, _ = rand.Read(v.key[:]) // never fails
	v.byName = make(map[string]verification)
}

func (v *verified) mac(name, password string) (m mac) {
	h := hmac.New(sha256.New, v.key[:])
	h.Write([]byte(name))
	h.Write([]byte{0}) // in no name
	h.Write([]byte(password))
	h.Sum(m[:0])
	return m
}

// has reports whether the password was verified, against the hash that the user has now.
func (v *verified) has(u *user, m mac) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	known, ok := v.byName[u.name]
	return ok && known.credential == u.credential && time.Now().Before(known.until) && hmac.Equal(known.mac[:], m[:])
}

func (v *verified) add(u *user, m mac) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.byName[u.name] = verification{m, u.credential, time.Now().Add(verifiedTime)}
}

func (v *verified) clear() {
	v.mu.Lock()
	defer v.mu.Unlock()
	clear(v.byName)
}
