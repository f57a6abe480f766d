package server

import (
	"context"
	"net"
)

// everyBucket is the pattern that a grant for the whole server has.
const everyBucket = "*"

// HasUsers reports whether clients have to log in.
func (l *Logins) HasUsers() bool { return l.users.Load() != nil }

// Administrator checks the name and the password of a client at that address, and that the user
// has the permission admin in all buckets. Without users everyone has it. The error matches
// ErrLogin, or is a *[DeniedError]. Attempts count as those of connections do.
func (l *Logins) Administrator(ctx context.Context, remote net.Addr, name, password string) error {
	if !l.HasUsers() {
		return nil
	}
	s, err := l.password(ctx, addressOf(remote), name, password)
	l.count(err)
	if err != nil {
		return err
	}
	if !s.user.mayAll(MayAdmin, everyBucket) {
		return &DeniedError{Needs: MayAdmin, Bucket: everyBucket}
	}
	return nil
}
