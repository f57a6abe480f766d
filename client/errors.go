package client

import (
	"errors"
	"fmt"

	"kvd/internal/lineproto"
	"kvd/kv"
)

// The errors of a server besides those of package kv. A *ConnError matches them if they
// are about the connection; they stand alone if they are about one command.
var (
	ErrAuthRequired = lineproto.ErrAuthRequired // Options.User is missing
	ErrAuthFailed   = lineproto.ErrAuthFailed   // Options.User or Options.Password is wrong
	ErrDenied       = lineproto.ErrDenied       // the user may not do that
	ErrTooMany      = lineproto.ErrTooMany      // a limit of the server: connections, watches
	ErrInternal     = lineproto.ErrInternal     // any other error of the server
)

// ConnError is the error of a call without a connection: none could be made, or the
// connection broke. A write that fails with it was not executed, unless the error also
// matches kv.ErrOutcomeUnknown.
type ConnError struct {
	Addr string // of the server, as given to Dial
	Err  error  // of the system, of the server, or a violation of the protocol

	refused bool // by the server: trying again would not help
}

func (e *ConnError) Error() string { return fmt.Sprintf("client: server %s: %v", e.Addr, e.Err) }

// Unwrap returns the cause.
func (e *ConnError) Unwrap() error { return e.Err }

// The causes for the end of a connection that are no errors of the system.
var (
	errHungUp     = errors.New("the server closed the connection")
	errUnasked    = errors.New("protocol: a reply without a command")
	errOtherStore = errors.New("it has another store than before: dial again")
	errWrongReply = errors.New("protocol: a reply to another command")
)

// unasked returns the error in a reply without a command. It is usually the reason why
// the server closes the connection.
func unasked(r *lineproto.Reply) error {
	if err := r.Err("", ""); err != nil {
		return err
	}
	return errUnasked
}

// refused reports whether err says that the server refuses this client.
func refused(err error) bool {
	var conn *ConnError
	return errors.As(err, &conn) && conn.refused
}

// unknown is the error of a write that may have been executed, or may still be.
func unknown(cause error) error { return fmt.Errorf("%w: %w", kv.ErrOutcomeUnknown, cause) }
