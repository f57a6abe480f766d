package lineproto

import (
	"errors"

	"kvd/kv"
)

// code is the stable name of an error on the wire.
type code string

// The errors of a server besides those of package kv; all codes stand in codes.
var (
	// ErrAuthRequired answers a command before AUTH.
	ErrAuthRequired = errors.New("authentication is required")
	// ErrAuthFailed answers a wrong name or password, without telling which is wrong.
	ErrAuthFailed = errors.New("authentication failed")
	// ErrDenied answers a command that the user has no permission for.
	ErrDenied = errors.New("permission denied")
	// ErrTimeout ends a connection whose command did not arrive in time.
	ErrTimeout = errors.New("timeout")
	// ErrTooMany answers a connection or a command that would exceed a limit of the
	// server on connections or watches.
	ErrTooMany = errors.New("too many")
	// ErrShutdown ends a connection or watch of a server that shuts down. Commands
	// without an answer before it were not executed.
	ErrShutdown = errors.New("the server is shutting down")
	// ErrInternal is any other error of the server.
	ErrInternal = errors.New("internal error")
)

// codes is the table of errors on the wire. If an error matches several, the first one
// counts. So the most important one for callers comes first.
var codes = []struct {
	code code
	err  error
}{
	{"OUTCOME_UNKNOWN", kv.ErrOutcomeUnknown},
	{"READ_ONLY", kv.ErrReadOnly},
	{"NO_SPACE", kv.ErrNoSpace},
	{"TOO_MANY_FILES", kv.ErrTooManyFiles},
	{"CLOSED", kv.ErrClosed},
	{"SHUTDOWN", ErrShutdown},
	{"BUCKET_NOT_FOUND", kv.ErrBucketNotFound},
	{"BUCKET_EXISTS", kv.ErrBucketExists},
	{"KEY_NOT_FOUND", kv.ErrKeyNotFound},
	{"KEY_EXISTS", kv.ErrKeyExists},
	{"REVISION_MISMATCH", kv.ErrKeyRevisionMismatch},
	{"INVALID_BUCKET_NAME", kv.ErrInvalidBucketName},
	{"INVALID_KEY", kv.ErrInvalidKey},
	{"INVALID_PATTERN", kv.ErrInvalidPattern},
	{"INVALID_CONFIG", kv.ErrInvalidConfig},
	{"INVALID_OPTION", kv.ErrInvalidOption},
	{"HISTORY_TOO_LARGE", kv.ErrHistoryTooLarge},
	{"VALUE_TOO_LARGE", kv.ErrValueTooLarge},
	{"BUCKET_FULL", kv.ErrBucketFull},
	{"INVALID_RECORD", kv.ErrInvalidRecord},
	{"DIGEST_MISMATCH", kv.ErrDigestMismatch},
	{"INVALID_TXN", kv.ErrInvalidTxn},
	{"TXN_TOO_LARGE", kv.ErrTxnTooLarge},
	{"CONTENDED", kv.ErrContended},
	{"NOT_SUPPORTED", kv.ErrNotSupported},
	{"COMPACTED", kv.ErrCompacted},
	{"FUTURE_REVISION", kv.ErrFutureRevision},
	{"LOCKED", kv.ErrLocked},
	{"NOT_STORE", kv.ErrNotStore},
	{"VERSION", kv.ErrVersion},
	{"CORRUPT", kv.ErrCorrupt},
	{"AUTH_REQUIRED", ErrAuthRequired},
	{"AUTH_FAILED", ErrAuthFailed},
	{"DENIED", ErrDenied},
	{"TOO_MANY", ErrTooMany},
	{"TIMEOUT", ErrTimeout},
	{"SYNTAX", ErrSyntax},
	{codeInternal, ErrInternal},
}

const codeInternal code = "INTERNAL"

// codeOf returns the code of an error: INTERNAL if it matches none in the table.
func codeOf(err error) code {
	for i := range codes {
		if errors.Is(err, codes[i].err) {
			return codes[i].code
		}
	}
	return codeInternal
}

// sentinel returns the error of the code: ErrInternal for an unknown code. A newer server
// may send such codes.
func sentinel(code string) error {
	for i := range codes {
		if string(codes[i].code) == code {
			return codes[i].err
		}
	}
	return ErrInternal
}
