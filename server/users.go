package server

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/nats-io/nkeys"
	"golang.org/x/crypto/bcrypt"
)

// Users is the content of a users file. Immutable.
type Users struct {
	byName map[string]*user
	byKey  map[string]*user // those with a public key
	decoy  []byte           // hash to compare with for an unknown name
}

// user is one line of a users file.
type user struct {
	name       string
	credential string // a bcrypt hash, or a public key
	hasKey     bool
	grants     []grant
}

const (
	userNameMax = 64
	costMax     = 14 // of a hash: about a second
	lineMax     = 64 << 10
)

// ParseUsers reads a users file; the package documentation describes it. Errors name
// the line.
func ParseUsers(r io.Reader) (*Users, error) {
	users := &Users{byName: map[string]*user{}, byKey: map[string]*user{}}
	cost := bcrypt.MinCost
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, lineMax)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		u, err := parseUser(line)
		if err == nil && users.byName[u.name] != nil {
			err = fmt.Errorf("user %q stands twice in the file", u.name)
		}
		if err == nil && users.byKey[u.credential] != nil {
			err = fmt.Errorf("users %q and %q have the same key", users.byKey[u.credential].name, u.name)
		}
		if err != nil {
			return nil, fmt.Errorf("server: users, line %d: %w", n, err)
		}
		users.byName[u.name] = u
		if u.hasKey {
			users.byKey[u.credential] = u
			continue
		}
		c, _ := bcrypt.Cost([]byte(u.credential)) // parseUser has seen it
		cost = max(cost, c)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("server: users: %w", err)
	}
	if len(users.byName) == 0 {
		return nil, errors.New("server: users: no users in the file")
	}
	decoy, err := bcrypt.GenerateFromPassword([]byte("of nobody"), cost)
	if err != nil {
		return nil, fmt.Errorf("server: users: %w", err)
	}
	users.decoy = decoy
	return users, nil
}

func parseUser(line string) (*user, error) {
	fields := strings.Fields(line)
	if len(fields) < 2 {
		return nil, errors.New("must be a name, a bcrypt hash or a public key, and grants")
	}
	u := &user{name: fields[0], credential: fields[1], hasKey: nkeys.IsValidPublicUserKey(fields[1])}
	if err := CheckUserName(u.name); err != nil {
		return nil, err
	}
	if err := u.checkHash(); err != nil {
		return nil, err
	}
	for _, field := range fields[2:] {
		g, err := parseGrant(field)
		if err != nil {
			return nil, fmt.Errorf("user %q: %w", u.name, err)
		}
		u.grants = append(u.grants, g)
	}
	return u, nil
}

// checkHash returns an error for a user who has neither a key nor a hash that can be checked
// in time.
func (u *user) checkHash() error {
	if u.hasKey {
		return nil
	}
	cost, err := bcrypt.Cost([]byte(u.credential))
	if err != nil {
		return fmt.Errorf("user %q has neither a bcrypt hash nor the public key of a user (U…): %w", u.name, err)
	}
	if cost > costMax {
		return fmt.Errorf("the hash of %q has cost %d: must be at most %d, to be checked in time", u.name, cost, costMax)
	}
	return nil
}

// CheckPublicKey returns an error if a text is not the public key of a user: an nkey that
// begins with U.
func CheckPublicKey(s string) error {
	if nkeys.IsValidPublicUserKey(s) {
		return nil
	}
	if strings.HasPrefix(s, "S") {
		return errors.New("that is a seed, which is secret: give the public key, which begins with U")
	}
	return fmt.Errorf("%.64q is not the public key of a user, which begins with U and has 56 characters", s)
}

// CheckUserName returns an error if no user can have that name.
func CheckUserName(name string) error {
	switch {
	case name == "":
		return errors.New("the user name is empty")
	case len(name) > userNameMax:
		return fmt.Errorf("a user name of %d bytes: must be at most %d", len(name), userNameMax)
	case name[0] == '#':
		return fmt.Errorf("user %q: a user name cannot begin with \"#\"", name)
	}
	for i := range len(name) {
		switch c := name[i]; {
		case c == ' ' || c == '\t':
			return fmt.Errorf("user %q: a user name has no blanks", name)
		case c < ' ' || c >= 0x7f || c == '"':
			return fmt.Errorf("user %q: byte 0x%02x is not allowed", name, c)
		}
	}
	return nil
}

// HashPassword returns the bcrypt hash of a password for a users file. A password has
// at most 72 bytes.
func HashPassword(password string) (string, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	if err != nil {
		return "", fmt.Errorf("server: %w", err)
	}
	return string(hash), nil
}
