package client

import (
	"errors"
	"fmt"

	"kvd/internal/lineproto"
	"kvd/kv"
)

// What a server says besides the errors of package kv. They are matched by a
// *ConnError where they are about the connection, and stand alone where they are
// about one command.
var (
	ErrAuthRequired = lineproto.ErrAuthRequired // Options.User is missing
	ErrAuthFailed   = lineproto.ErrAuthFailed   // Options.User or Options.Password is wrong
	ErrDenied       = lineproto.ErrDenied       // the user may not do that
	ErrTooMany      = lineproto.ErrTooMany      // a limit of the server: connections, watches
	ErrInternal     = lineproto.ErrInternal     // an error that has no name
)

// ConnError is a call that failed for want of a connection: none could be made,
// or the one it ran on broke. A write that fails with it was not carried out,
// unless the error also matches kv.ErrOutcomeUnknown.
type ConnError struct {
	Addr string // of the server, as given to Dial
	Err  error  // the system's, or what the server said or must not have said

	refused bool // by the server: trying again would not help
}

func (e *ConnError) Error() string { return fmt.Sprintf("client: server %s: %v", e.Addr, e.Err) }

// Unwrap returns the cause.
func (e *ConnError) Unwrap() error { return e.Err }

// Why a connection ended, where the system has no error for it.
var (
	errHungUp     = errors.New("the server closed the connection")
	errUnasked    = errors.New("protocol: a reply without a command")
	errOtherStore = errors.New("it has another store than before: dial again")
	errWrongReply = errors.New("protocol: a reply to another command")
)

// unasked says why the server spoke up: usually to say why it hangs up.
func unasked(r *lineproto.Reply) error {
	if err := r.Err("", ""); err != nil {
		return err
	}
	return errUnasked
}

// refused reports whether err is a server's word that it will not have this
// client.
func refused(err error) bool {
	var conn *ConnError
	return errors.As(err, &conn) && conn.refused
}

// unknown says that a write may have been carried out, or may yet be.
func unknown(cause error) error { return fmt.Errorf("%w: %w", kv.ErrOutcomeUnknown, cause) }
