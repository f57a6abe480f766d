package lineproto

// Code is code, for tests.
type Code = code

// Limits of a payload, for tests.
const (
	MaxLength        = maxLength
	MaxConfigPayload = maxConfigPayload
)

// CodeOf is codeOf, for tests.
func CodeOf(err error) Code { return codeOf(err) }
