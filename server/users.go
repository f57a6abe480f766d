package server

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"golang.org/x/crypto/bcrypt"
)

// Permission is a set of operations on a bucket.
type Permission uint8

// The permissions.
const (
	MayGet   Permission = 1 << iota // read keys, histories and listings
	MayPut                          // write values
	MayDel                          // delete and purge keys
	MayWatch                        // watch keys
	MayAdmin                        // create, edit and delete the bucket; remove markers
	MayAny   = MayGet | MayPut | MayDel | MayWatch | MayAdmin
)

var permissionNames = map[string]Permission{
	"get": MayGet, "put": MayPut, "del": MayDel, "watch": MayWatch, "admin": MayAdmin,
}

// Users is the content of a users file. Immutable.
type Users struct {
	byName map[string]*user
	decoy  []byte // hash to compare with for an unknown name
}

// user is one line of a users file.
type user struct {
	name   string
	hash   []byte
	grants []grant
}

// grant is the permissions of a user in the buckets that match a pattern.
type grant struct {
	pattern string
	may     Permission
}

const (
	userNameMax = 64
	costMax     = 14 // of a hash: about a second
	lineMax     = 64 << 10
)

// ParseUsers reads a users file; the package documentation describes it. Errors name
// the line.
func ParseUsers(r io.Reader) (*Users, error) {
	users := &Users{byName: map[string]*user{}}
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
		if err != nil {
			return nil, fmt.Errorf("server: users, line %d: %w", n, err)
		}
		users.byName[u.name] = u
		c, _ := bcrypt.Cost(u.hash) // parseUser has seen it
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
		return nil, errors.New("must be a name, a bcrypt hash and grants")
	}
	u := &user{name: fields[0], hash: []byte(fields[1])}
	if err := checkUserName(u.name); err != nil {
		return nil, err
	}
	cost, err := bcrypt.Cost(u.hash)
	if err != nil {
		return nil, fmt.Errorf("the password of %q is not a bcrypt hash: %w", u.name, err)
	}
	if cost > costMax {
		return nil, fmt.Errorf("the hash of %q has cost %d: must be at most %d, to be checked in time", u.name, cost, costMax)
	}
	for _, field := range fields[2:] {
		g, err := parseGrant(field)
		if err != nil {
			return nil, fmt.Errorf("grant %q of %q: %w", field, u.name, err)
		}
		u.grants = append(u.grants, g)
	}
	return u, nil
}

func checkUserName(name string) error {
	if len(name) > userNameMax {
		return fmt.Errorf("a user name of %d bytes: must be at most %d", len(name), userNameMax)
	}
	for i := range len(name) {
		if c := name[i]; c <= ' ' || c >= 0x7f || c == '"' {
			return fmt.Errorf("user %q: byte 0x%02x is not allowed", name, c)
		}
	}
	return nil
}

func parseGrant(field string) (grant, error) {
	pattern, verbs, ok := strings.Cut(field, "=")
	if !ok || pattern == "" {
		return grant{}, errors.New("must be buckets=verbs")
	}
	for i := range len(pattern) {
		if c := pattern[i]; c != '*' && c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			return grant{}, fmt.Errorf("%q cannot be in the name of a bucket", c)
		}
	}
	g := grant{pattern: pattern}
	for verb := range strings.SplitSeq(verbs, ",") {
		p, ok := permissionNames[verb]
		if !ok {
			return grant{}, fmt.Errorf("verb %q: must be get, put, del, watch or admin", verb)
		}
		g.may |= p
	}
	return g, nil
}

// may reports whether a grant gives any of the permissions in the bucket.
func (u *user) may(p Permission, bucket string) bool {
	if u == nil {
		return false
	}
	for _, g := range u.grants {
		if g.may&p != 0 && matchBucket(g.pattern, bucket) {
			return true
		}
	}
	return false
}

// matchBucket matches * to any characters. It never goes back further than the last *,
// so no pattern makes it slow.
func matchBucket(pattern, name string) bool {
	p, n := 0, 0
	star, retry := -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, retry = p, n
			p++
		case p < len(pattern) && pattern[p] == name[n]:
			p++
			n++
		case star >= 0:
			retry++
			p, n = star+1, retry
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
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
