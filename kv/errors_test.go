package kv_test

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"kvd/kv"
)

// sentinels are what callers branch on.
var sentinels = []error{
	kv.ErrBucketNotFound, kv.ErrBucketExists, kv.ErrKeyNotFound, kv.ErrKeyExists, kv.ErrKeyRevisionMismatch,
	kv.ErrInvalidBucketName, kv.ErrInvalidKey, kv.ErrInvalidPattern, kv.ErrInvalidConfig, kv.ErrInvalidOption,
	kv.ErrHistoryTooLarge, kv.ErrValueTooLarge, kv.ErrBucketFull, kv.ErrNotSupported, kv.ErrCompacted,
	kv.ErrClosed, kv.ErrReadOnly, kv.ErrOutcomeUnknown, kv.ErrNoSpace, kv.ErrLocked, kv.ErrNotStore,
	kv.ErrVersion, kv.ErrCorrupt,
}

// TestErrors checks text, type and kind: an error matches its own sentinel,
// also when wrapped, and no other.
func TestErrors(t *testing.T) {
	tests := []struct {
		err     error
		matches error
		text    string
	}{
		{
			&kv.RevisionMismatchError{Bucket: "b", Key: "k", Want: 1, Got: 2}, kv.ErrKeyRevisionMismatch,
			`key revision mismatch: "k" in bucket "b" is at revision 2, expected 1`,
		},
		{
			&kv.RevisionMismatchError{Bucket: "b", Key: "k", Got: 2, Create: true}, kv.ErrKeyExists,
			`key exists: "k" in bucket "b" is at revision 2`,
		},
		{
			&kv.RevisionMismatchError{Bucket: "b", Want: 1, Got: 2}, kv.ErrKeyRevisionMismatch,
			`key revision mismatch: bucket "b" is at revision 2, expected 1`,
		},
		{
			&kv.NameError{Name: "a b", Offset: 1, Reason: "blank", Err: kv.ErrInvalidKey}, kv.ErrInvalidKey,
			`invalid key "a b": blank at byte 1`,
		},
		{
			&kv.NameError{Name: "", Offset: -1, Reason: "it is empty", Err: kv.ErrInvalidBucketName}, kv.ErrInvalidBucketName,
			`invalid bucket name "": it is empty`,
		},
		{
			&kv.LimitError{What: "value size", Got: 11, Max: 10, Err: kv.ErrValueTooLarge}, kv.ErrValueTooLarge,
			`value too large: value size is 11, must be 0 to 10`,
		},
		{
			&kv.LimitError{What: "TTL", Got: -1e9, Min: 1, Duration: true, Err: kv.ErrInvalidOption}, kv.ErrInvalidOption,
			`invalid option: TTL is -1s, must be at least 1ns`,
		},
		{
			&kv.CorruptError{File: "000001.wal", Offset: 4096, Detail: "LSN 7 to 9"}, kv.ErrCorrupt,
			`corrupt: 000001.wal at offset 4096: LSN 7 to 9`,
		},
		{
			&kv.CorruptError{File: "manifest.1", Offset: -1, Err: io.ErrUnexpectedEOF}, kv.ErrCorrupt,
			`corrupt: manifest.1: unexpected EOF`,
		},
		{
			&kv.CorruptError{File: "f", Offset: 0, Detail: "d", Err: io.EOF}, kv.ErrCorrupt,
			`corrupt: f at offset 0: d: EOF`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			if tt.err.Error() != tt.text {
				t.Errorf("text is %s", tt.err)
			}
			for _, sentinel := range sentinels {
				if got := errors.Is(fmt.Errorf("layer: %w", tt.err), sentinel); got != (sentinel == tt.matches) {
					t.Errorf("matches %q: %v", sentinel, got)
				}
			}
		})
	}
}

func TestCorruptErrorKeepsItsCause(t *testing.T) {
	err := fmt.Errorf("read: %w", &kv.CorruptError{File: "f", Err: io.ErrUnexpectedEOF})
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error("the cause is lost")
	}
	var corrupt *kv.CorruptError
	if !errors.As(err, &corrupt) || corrupt.File != "f" {
		t.Errorf("found %+v", corrupt)
	}
}

func TestSentinelsDiffer(t *testing.T) {
	texts := map[string]bool{}
	for i, a := range sentinels {
		if texts[a.Error()] {
			t.Errorf("%q is the text of two", a)
		}
		texts[a.Error()] = true
		for _, b := range sentinels[i+1:] {
			if errors.Is(a, b) || errors.Is(b, a) {
				t.Errorf("%q matches %q", a, b)
			}
		}
	}
}
