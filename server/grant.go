package server

import (
	"errors"
	"fmt"
	"strings"

	"kvd/internal/patterns"
	"kvd/kv"
)

// grant is the permissions of a user in the buckets, and on the keys in them, that match
// patterns.
type grant struct {
	buckets string
	keys    string // empty: the buckets as a whole
	may     Permission
}

// CheckGrant returns an error if a grant is not buckets=verbs or buckets/keys=verbs, as the
// package documentation describes it.
func CheckGrant(s string) error {
	_, err := parseGrant(s)
	return err
}

// parseGrant reads a grant. The verbs stand behind the last "=", because a key can have one.
func parseGrant(s string) (grant, error) {
	at := strings.LastIndexByte(s, '=')
	if at < 0 {
		return grant{}, grantError(s, errNoVerbs)
	}
	var g grant
	var withKeys bool
	g.buckets, g.keys, withKeys = strings.Cut(s[:at], "/")
	err := checkBuckets(g.buckets)
	if err == nil && withKeys {
		err = kv.CheckPattern(g.keys)
	}
	if err == nil {
		g.may, err = parseVerbs(s[at+1:])
	}
	if err == nil && withKeys && g.may&MayAdmin != 0 {
		err = errors.New("admin is about whole buckets: it takes no pattern of keys")
	}
	if err != nil {
		return grant{}, grantError(s, err)
	}
	return g, nil
}

var errNoVerbs = errors.New("must be BUCKETS=VERBS or BUCKETS/KEYS=VERBS")

func grantError(s string, err error) error { return fmt.Errorf("grant %.128q: %w", s, err) }

// checkBuckets checks a pattern of names of buckets.
func checkBuckets(pattern string) error {
	if pattern == "" {
		return errNoVerbs
	}
	name := strings.ReplaceAll(pattern, "*", "-")
	if err := kv.CheckBucketName(name); err != nil {
		return fmt.Errorf("buckets %.128q: %w", pattern, err)
	}
	return nil
}

// may reports whether a grant gives any of the permissions, in the bucket or on some of its
// keys.
func (u *user) may(p Permission, bucket string) bool {
	for i := range u.all() {
		if u.grants[i].in(p, bucket) {
			return true
		}
	}
	return false
}

// mayAll reports whether a grant gives any of the permissions in the bucket as a whole.
func (u *user) mayAll(p Permission, bucket string) bool {
	for i := range u.all() {
		if g := &u.grants[i]; g.keys == "" && g.in(p, bucket) {
			return true
		}
	}
	return false
}

// mayKey reports whether a grant gives any of the permissions on the key.
func (u *user) mayKey(p Permission, bucket, key string) bool {
	for i := range u.all() {
		if g := &u.grants[i]; g.in(p, bucket) && (g.keys == "" || kv.Match(g.keys, key)) {
			return true
		}
	}
	return false
}

// mayPattern reports whether one grant gives any of the permissions on every key that the
// pattern can match.
func (u *user) mayPattern(p Permission, bucket, pattern string) bool {
	for i := range u.all() {
		if g := &u.grants[i]; g.in(p, bucket) && (g.keys == "" || patterns.Covers(g.keys, pattern)) {
			return true
		}
	}
	return false
}

// all returns the number of grants. It is 0 for nil, which stands for a removed user.
func (u *user) all() int {
	if u == nil {
		return 0
	}
	return len(u.grants)
}

// in reports whether the grant gives any of the permissions in the bucket.
func (g *grant) in(p Permission, bucket string) bool {
	return g.may&p != 0 && matchBucket(g.buckets, bucket)
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
