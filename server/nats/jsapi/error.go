package jsapi

import (
	"errors"
	"fmt"

	"kvd/kv"
)

// Error is an error of JetStream's API: why a request was refused.
type Error struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

// NewError returns an error of the API: an HTTP-like status, nats-server's code, and a
// text for people.
func NewError(code, errCode int, description string) *Error {
	return &Error{code, errCode, description}
}

func (e *Error) Error() string { return fmt.Sprintf("%s (%d)", e.Description, e.ErrCode) }

// The errors without details, in the order of nats-server's codes, on which clients act.
var (
	ErrBadRequest       = &Error{400, 10003, "bad request"}
	ErrNameExists       = &Error{400, 10013, "consumer name already in use"}
	ErrConsumerNotFound = &Error{404, 10014, "consumer not found"}
	ErrSnapshotSubject  = &Error{400, 10015, "deliver subject not valid"}
	ErrDurableName      = &Error{400, 10017, "consumer name in subject does not match durable name in request"}
	ErrDurableNotSet    = &Error{400, 10018, "consumer expected to be durable but a durable name was not set"}
	ErrEphemeralDurable = &Error{400, 10020, "consumer expected to be ephemeral but a durable name was set in request"}
	ErrMirrorSubjects   = &Error{400, 10034, "stream mirrors can not contain subjects"}
	ErrNoMessage        = &Error{404, 10037, "no message found"}
	ErrNoResources      = &Error{503, 10023, "insufficient resources"}
	ErrNoStorage        = &Error{500, 10047, "insufficient storage resources available"}
	ErrMessageTooLarge  = &Error{400, 10054, "message size exceeds maximum allowed"}
	ErrNameMismatch     = &Error{400, 10056, "stream name in subject does not match request"}
	ErrNoMessageDelete  = &Error{500, 10057, "message delete not permitted"}
	ErrNameInUse        = &Error{400, 10058, "stream name already in use with a different configuration"}
	ErrStreamNotFound   = &Error{404, 10059, "stream not found"}
	ErrExpectedStream   = &Error{400, 10060, "expected stream does not match"}
	ErrSubjectsOverlap  = &Error{400, 10065, "subjects overlap with an existing stream"}
	ErrReplicas         = &Error{500, 10074, "replicas > 1 not supported in non-clustered mode"}
	ErrMaxBytes         = &Error{503, 10077, "maximum bytes exceeded"}
	ErrMaxMessages      = &Error{503, 10077, "maximum messages exceeded"}
	ErrDeliverWildcards = &Error{400, 10079, "consumer deliver subject has wildcards"}
	ErrPushMaxWaiting   = &Error{400, 10080, "consumer in push mode can not set max waiting"}
	ErrPushAckPending   = &Error{400, 10082, "consumer requires ack policy for max ack pending"}
	ErrHeartbeatShort   = &Error{400, 10083, "consumer idle heartbeat needs to be >= 100ms"}
	ErrPullRateLimit    = &Error{400, 10086, "consumer in pull mode can not have rate limit set"}
	ErrPullHeartbeat    = &Error{400, 10088, "consumer idle heartbeat requires a push based consumer"}
	ErrPullFlowControl  = &Error{400, 10089, "consumer flow control requires a push based consumer"}
	ErrHeaderTooLarge   = &Error{400, 10097, "header size exceeds maximum allowed of 64k"}
	ErrDescription      = &Error{400, 10107, "consumer description is too long, maximum allowed is 4096"}
	ErrFlowNeedsBeat    = &Error{400, 10108, "consumer with flow control also needs heartbeats"}
	ErrSealed           = &Error{400, 10109, "invalid operation on sealed stream"}
	ErrNoPurge          = &Error{500, 10110, "stream purge not permitted"}
	ErrNoRollup         = &Error{500, 10111, "rollup not permitted"}
	ErrExpiresShort     = &Error{400, 10115, "consumer max request expires needs to be >= 1ms"}
	ErrBackoffDeliver   = &Error{400, 10116, "max deliver is required to be > length of backoff values"}
	ErrRestoreExists    = &Error{400, 10130, "stream name already in use, cannot restore"}
	ErrFilterSubject    = &Error{400, 10131, "Consumer create request did not match filtered subject from create subject"}
	ErrReplicasNegative = &Error{400, 10133, "replicas count cannot be negative"}
	ErrTwoFilters       = &Error{400, 10136, "consumer cannot have both FilterSubject and FilterSubjects specified"}
	ErrFiltersInSubject = &Error{400, 10137, "consumer with multiple subject filters cannot use subject based API"}
	ErrFiltersOverlap   = &Error{400, 10138, "consumer subject filters cannot overlap"}
	ErrEmptyFilter      = &Error{400, 10139, "consumer filter in FilterSubjects cannot be empty"}
	ErrNoConsumer       = &Error{400, 10149, "consumer does not exist"}
	ErrInvalidTTL       = &Error{400, 10165, "invalid per-message TTL"}
	ErrTTLDisabled      = &Error{400, 10166, "per-message TTL is disabled"}
	ErrCounterDisabled  = &Error{400, 10168, "message counters is disabled"}
	ErrBatchDisabled    = &Error{400, 10174, "atomic publish is disabled"}
	ErrAckWaitNegative  = &Error{400, 10183, "consumer ack wait needs to be positive"}
	ErrBackoffNegative  = &Error{400, 10184, "consumer backoff needs to be positive"}
	ErrRequiredLevel    = &Error{412, 10185, "JetStream minimum api level required"}
	ErrScheduleDisabled = &Error{400, 10188, "message schedules is disabled"}
	ErrMissingSequence  = &Error{400, 10193, "missing sequence for expected last sequence per subject"}
	ErrAckFlowPull      = &Error{400, 10218, "flow control ack policy requires a push based consumer"}
)

// InvalidJSON refuses a body that cannot be decoded.
func InvalidJSON(err error) *Error {
	return &Error{400, 10025, "invalid JSON: " + err.Error()}
}

// InvalidConfig refuses the configuration of a stream that nats-server refuses too. Format and
// args are those of fmt.Sprintf, here and below.
func InvalidConfig(format string, args ...any) *Error {
	return &Error{500, 10052, fmt.Sprintf(format, args...)}
}

// UnsupportedConfig refuses the configuration of a stream that nats-server accepts. Each text
// is in docs/nats.md.
func UnsupportedConfig(format string, args ...any) *Error { return InvalidConfig(format, args...) }

// InvalidConsumer refuses the configuration of a consumer that nats-server refuses too.
func InvalidConsumer(format string, args ...any) *Error {
	return &Error{400, 10094, fmt.Sprintf(format, args...)}
}

// InvalidUpdate refuses an update of a consumer that changes what must not change.
func InvalidUpdate(why string) *Error { return &Error{500, 10012, why} }

// UnsupportedConsumer refuses a consumer that nats-server accepts. Each text is in docs/nats.md.
func UnsupportedConsumer(format string, args ...any) *Error {
	return &Error{500, 10012, fmt.Sprintf(format, args...)}
}

// WrongLastSequence refuses a message that expects another sequence than the actual one.
func WrongLastSequence(actual kv.Revision) *Error {
	return &Error{400, 10071, fmt.Sprintf("wrong last sequence: %d", actual)}
}

// WrongLastMsgID refuses a message that expects another message id than the actual one.
func WrongLastMsgID(actual string) *Error {
	return &Error{400, 10070, "wrong last msg ID: " + actual}
}

// UnsupportedRequest refuses another request, or a message, that nats-server accepts. Each text
// is in docs/nats.md.
func UnsupportedRequest(format string, args ...any) *Error { return BadRequest(format, args...) }

// BadRequest refuses a request that the store finds invalid.
func BadRequest(format string, args ...any) *Error {
	return &Error{400, 10003, fmt.Sprintf(format, args...)}
}

// PermissionDenied refuses what is not granted to the user. The error names the missing
// grant.
func PermissionDenied(err error) *Error {
	return &Error{403, 10003, "permissions violation: " + err.Error()}
}

// ErrorOf returns the error of the API that stands for an error of the store. An *Error
// in the chain of err is returned as it is.
//
// The names in a *kv.KeyError are left out: the client knows what it asked for.
func ErrorOf(err error) *Error {
	if named, ok := err.(*kv.KeyError); ok { //nolint:errorlint // one that is wrapped has a text of its own
		err = named.Err
	}
	var api *Error
	var mismatch *kv.RevisionMismatchError
	switch {
	case errors.As(err, &api):
		return api
	case errors.As(err, &mismatch):
		return WrongLastSequence(mismatch.Got)
	case errors.Is(err, kv.ErrBucketNotFound):
		return ErrStreamNotFound
	case errors.Is(err, kv.ErrBucketExists):
		return ErrNameInUse
	case errors.Is(err, kv.ErrKeyNotFound):
		return ErrNoMessage
	case errors.Is(err, kv.ErrValueTooLarge):
		return ErrMessageTooLarge
	case errors.Is(err, kv.ErrBucketFull):
		return ErrMaxBytes
	case errors.Is(err, kv.ErrNoSpace):
		return ErrNoStorage
	case errors.Is(err, kv.ErrTooManyFiles):
		return ErrNoResources
	case errors.Is(err, kv.ErrInvalidConfig), errors.Is(err, kv.ErrHistoryTooLarge),
		errors.Is(err, kv.ErrInvalidBucketName), errors.Is(err, kv.ErrNotSupported):
		return InvalidConfig("%v", err)
	case errors.Is(err, kv.ErrInvalidKey), errors.Is(err, kv.ErrInvalidPattern), errors.Is(err, kv.ErrInvalidOption):
		return BadRequest("%v", err)
	}
	return &Error{503, 10077, err.Error()} // nats-server's code for a store that failed
}
