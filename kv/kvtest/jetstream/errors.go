package jetstream

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"

	"kvd/kv"
)

// Codes of the server's errors that nats.go has no name for.
const (
	codeNoRoomForStream js.ErrorCode = 10047
	codeInvalidConfig   js.ErrorCode = 10052
	codeMaxBytes        js.ErrorCode = 10077
	codeInvalidTTL      js.ErrorCode = 10165
	codeTTLDisabled     js.ErrorCode = 10166
)

// byCode says what the server's errors are in the terms of package kv.
var byCode = map[js.ErrorCode]error{
	js.JSErrCodeStreamNotFound:              kv.ErrBucketNotFound,
	js.JSErrCodeStreamNameInUse:             kv.ErrBucketExists,
	js.JSErrCodeStreamMessageExceedsMaximum: kv.ErrValueTooLarge,
	codeNoRoomForStream:                     kv.ErrNoSpace,
	codeInvalidConfig:                       kv.ErrInvalidConfig,
	codeMaxBytes:                            kv.ErrBucketFull,
	codeInvalidTTL:                          kv.ErrInvalidOption,
	codeTTLDisabled:                         kv.ErrInvalidOption,
}

// byClient says the same of errors that the client library makes itself.
var byClient = []struct{ nats, kv error }{
	{js.ErrBucketNotFound, kv.ErrBucketNotFound},
	{js.ErrBadBucket, kv.ErrBucketNotFound},
	{nats.ErrStreamNotFound, kv.ErrBucketNotFound},
	{js.ErrBucketExists, kv.ErrBucketExists},
	{js.ErrKeyNotFound, kv.ErrKeyNotFound},
	{js.ErrInvalidOption, kv.ErrInvalidOption},
	{nats.ErrMaxPayload, kv.ErrValueTooLarge},
	{nats.ErrConnectionClosed, kv.ErrClosed},
}

// translate makes an error of nats.go match the one of package kv that says the
// same. One that has no such counterpart, and nil, are returned as they are.
func translate(err error) error {
	var api *js.APIError
	if errors.As(err, &api) && byCode[api.ErrorCode] != nil {
		return fmt.Errorf("%w: %w", byCode[api.ErrorCode], err)
	}
	for _, e := range byClient {
		if errors.Is(err, e.nats) {
			return fmt.Errorf("%w: %w", e.kv, err)
		}
	}
	return err
}

// isRefused reports whether err says that the newest record is not the one
// expected. Replicated streams have a code of their own for it.
func isRefused(err error) bool {
	var api *js.APIError
	return errors.As(err, &api) &&
		(api.ErrorCode == js.JSErrCodeStreamWrongLastSequence || api.ErrorCode == js.JSErrCodeStreamWrongLastSequenceConstant)
}

// isSilence reports whether err says that nobody listens: the stream is gone, or
// the server has no JetStream.
func isSilence(err error) bool {
	return errors.Is(err, js.ErrNoStreamResponse) || errors.Is(err, nats.ErrNoResponders)
}
