package nats

import (
	"errors"
	"fmt"

	"kvd/kv"
)

// apiError is why a request was refused, as JetStream's API says it.
type apiError struct {
	Code        int    `json:"code"`
	ErrCode     int    `json:"err_code"`
	Description string `json:"description"`
}

func (e *apiError) Error() string { return fmt.Sprintf("%s (%d)", e.Description, e.ErrCode) }

// The refusals that have no details of their own, by nats-server's codes: clients
// branch on them.
var (
	errBadRequest       = &apiError{400, 10003, "bad request"}
	errConsumerNotFound = &apiError{404, 10014, "consumer not found"}
	errMirrorSubjects   = &apiError{400, 10034, "stream mirrors can not contain subjects"}
	errNoMessage        = &apiError{404, 10037, "no message found"}
	errNoStorage        = &apiError{500, 10047, "insufficient storage resources available"}
	errMessageTooLarge  = &apiError{400, 10054, "message size exceeds maximum allowed"}
	errNameMismatch     = &apiError{400, 10056, "stream name in subject does not match request"}
	errNoMessageDelete  = &apiError{500, 10057, "message delete not permitted"}
	errNameInUse        = &apiError{400, 10058, "stream name already in use with a different configuration"}
	errStreamNotFound   = &apiError{404, 10059, "stream not found"}
	errExpectedStream   = &apiError{400, 10060, "expected stream does not match"}
	errSubjectsOverlap  = &apiError{400, 10065, "subjects overlap with an existing stream"}
	errReplicas         = &apiError{500, 10074, "replicas > 1 not supported in non-clustered mode"}
	errMaxBytes         = &apiError{503, 10077, "maximum bytes exceeded"}
	errMaxMessages      = &apiError{503, 10077, "maximum messages exceeded"}
	errDeliverWildcards = &apiError{400, 10079, "consumer deliver subject has wildcards"}
	errHeartbeatShort   = &apiError{400, 10083, "consumer idle heartbeat needs to be >= 100ms"}
	errHeaderTooLarge   = &apiError{400, 10097, "header size exceeds maximum allowed of 64k"}
	errFlowNeedsBeat    = &apiError{400, 10108, "consumer with flow control also needs heartbeats"}
	errNoPurge          = &apiError{500, 10110, "stream purge not permitted"}
	errNoRollup         = &apiError{500, 10111, "rollup not permitted"}
	errFilterSubject    = &apiError{400, 10131, "Consumer create request did not match filtered subject from create subject"}
	errReplicasNegative = &apiError{400, 10133, "replicas count cannot be negative"}
	errTwoFilters       = &apiError{400, 10136, "consumer cannot have both FilterSubject and FilterSubjects specified"}
	errFiltersOverlap   = &apiError{400, 10138, "consumer subject filters cannot overlap"}
	errEmptyFilter      = &apiError{400, 10139, "consumer filter in FilterSubjects cannot be empty"}
	errNoConsumer       = &apiError{400, 10149, "consumer does not exist"}
	errInvalidTTL       = &apiError{400, 10165, "invalid per-message TTL"}
	errTTLDisabled      = &apiError{400, 10166, "per-message TTL is disabled"}
	errCounterDisabled  = &apiError{400, 10168, "message counters is disabled"}
	errBatchDisabled    = &apiError{400, 10174, "atomic publish is disabled"}
	errRequiredLevel    = &apiError{412, 10185, "JetStream minimum api level required"}
	errScheduleDisabled = &apiError{400, 10188, "message schedules is disabled"}
	errMissingSequence  = &apiError{400, 10193, "missing sequence for expected last sequence per subject"}
)

// Refusals with details.

func invalidJSON(err error) *apiError {
	return &apiError{400, 10025, "invalid JSON: " + err.Error()}
}

func invalidConfig(format string, args ...any) *apiError {
	return &apiError{500, 10052, fmt.Sprintf(format, args...)}
}

func invalidConsumer(format string, args ...any) *apiError {
	return &apiError{400, 10094, fmt.Sprintf(format, args...)}
}

func unsupportedConsumer(format string, args ...any) *apiError {
	return &apiError{500, 10012, fmt.Sprintf(format, args...)}
}

func wrongSequence(actual kv.Revision) *apiError {
	return &apiError{400, 10071, fmt.Sprintf("wrong last sequence: %d", actual)}
}

func wrongMessageID(actual string) *apiError {
	return &apiError{400, 10070, "wrong last msg ID: " + actual}
}

func badRequest(format string, args ...any) *apiError {
	return &apiError{400, 10003, fmt.Sprintf(format, args...)}
}

func denied(what, bucket string) *apiError {
	return &apiError{403, 10003, fmt.Sprintf("permissions violation: the user has no %s in bucket %q", what, bucket)}
}

// refusal says an error of the store as the API does.
func refusal(err error) *apiError {
	var api *apiError
	var mismatch *kv.RevisionMismatchError
	switch {
	case errors.As(err, &api):
		return api
	case errors.As(err, &mismatch):
		return wrongSequence(mismatch.Got)
	case errors.Is(err, kv.ErrBucketNotFound):
		return errStreamNotFound
	case errors.Is(err, kv.ErrBucketExists):
		return errNameInUse
	case errors.Is(err, kv.ErrKeyNotFound):
		return errNoMessage
	case errors.Is(err, kv.ErrValueTooLarge):
		return errMessageTooLarge
	case errors.Is(err, kv.ErrBucketFull):
		return errMaxBytes
	case errors.Is(err, kv.ErrNoSpace):
		return errNoStorage
	case errors.Is(err, kv.ErrInvalidConfig), errors.Is(err, kv.ErrHistoryTooLarge),
		errors.Is(err, kv.ErrInvalidBucketName), errors.Is(err, kv.ErrNotSupported):
		return invalidConfig("%v", err)
	case errors.Is(err, kv.ErrInvalidKey), errors.Is(err, kv.ErrInvalidPattern), errors.Is(err, kv.ErrInvalidOption):
		return badRequest("%v", err)
	}
	return &apiError{503, 10077, err.Error()} // nats-server's code of a store that failed
}
