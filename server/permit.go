package server

import "strings"

// May reports whether the client has any of the permissions in the bucket, be it on some
// keys alone. It is for what shows that a bucket exists. Safe for concurrent use, like the
// other checks.
func (c *Conn) May(p Permission, bucket string) bool {
	u, ok := c.restricted()
	return !ok || u.may(p, bucket)
}

// PermitAny is May, with a *[DeniedError] if the client does not have the permission.
func (c *Conn) PermitAny(p Permission, bucket string) error {
	if c.May(p, bucket) {
		return nil
	}
	return &DeniedError{Needs: p, Bucket: strings.Clone(bucket)}
}

// Permit returns nil if the client has any of the permissions in the bucket as a whole, and
// a *[DeniedError] otherwise.
func (c *Conn) Permit(p Permission, bucket string) error {
	if u, ok := c.restricted(); ok && !u.mayAll(p, bucket) {
		return &DeniedError{Needs: p, Bucket: strings.Clone(bucket)}
	}
	return nil
}

// PermitKey is Permit for an operation on one key.
func (c *Conn) PermitKey(p Permission, bucket, key string) error {
	u, ok := c.restricted()
	if !ok || u.mayKey(p, bucket, key) {
		return nil
	}
	denied := &DeniedError{Needs: p, Bucket: strings.Clone(bucket)}
	if u.may(p, bucket) { // the key makes the difference
		denied.Key = strings.Clone(key)
	}
	return denied
}

// PermitPattern is Permit for an operation on the keys that match a pattern: one grant must
// cover every key that it can match, so that nothing is left out in silence.
func (c *Conn) PermitPattern(p Permission, bucket, pattern string) error {
	u, ok := c.restricted()
	if !ok || u.mayPattern(p, bucket, pattern) {
		return nil
	}
	denied := &DeniedError{Needs: p, Bucket: strings.Clone(bucket)}
	if u.may(p, bucket) {
		denied.Pattern = strings.Clone(pattern)
	}
	return denied
}

// restricted returns the user of the client, nil for one who was removed or has not logged
// in. It reports false on a server without users, where everything is permitted.
func (c *Conn) restricted() (*user, bool) {
	users := c.server.logins.users.Load()
	if users == nil {
		return nil, false
	}
	s := c.session.Load()
	if s == nil {
		return nil, true
	}
	if s.users != users {
		s = s.renew(users)
		c.session.Store(s)
	}
	return s.user, true
}
