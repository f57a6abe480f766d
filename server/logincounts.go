package server

import (
	"errors"
	"sync/atomic"
)

// LoginCounts are the logins since the start.
type LoginCounts struct {
	Accepted uint64
	Failed   uint64 // wrong name, password, key or signature
	Refused  uint64 // not checked: too many attempts, or no time
}

// Counts returns the number of logins. Safe for concurrent use.
func (l *Logins) Counts() LoginCounts {
	return LoginCounts{l.counts.accepted.Load(), l.counts.failed.Load(), l.counts.refused.Load()}
}

// loginCounts are the numbers of LoginCounts.
type loginCounts struct{ accepted, failed, refused atomic.Uint64 }

// count counts a login by its error.
func (l *Logins) count(err error) {
	switch {
	case err == nil:
		l.counts.accepted.Add(1)
	case isWrong(err):
		l.counts.failed.Add(1)
	default:
		l.counts.refused.Add(1)
	}
}

// isWrong reports whether the error of a login says that it was checked.
func isWrong(err error) bool { return errors.Is(err, errWrong) || errors.Is(err, errWrongKey) }
