package kv

import (
	"context"
	"errors"
	"fmt"
)

// KeyError is an error of one method of a bucket, with the bucket and the key that it
// is about. It matches what Err matches.
type KeyError struct {
	Bucket string
	Key    string // as given, also where it is no valid key; empty: Err is about the bucket
	Err    error
}

func (e *KeyError) Error() string {
	switch _, isName := e.Err.(*NameError); { //nolint:errorlint // one that is wrapped is not the whole text
	case e.Key == "" || isName: // a NameError names the key
		return fmt.Sprintf("bucket %q: %v", e.Bucket, e.Err)
	case e.Err == ErrKeyNotFound: //nolint:errorlint // the sentinel alone has no text of its own
		return fmt.Sprintf("%v: %q in bucket %q", e.Err, e.Key, e.Bucket)
	}
	return fmt.Sprintf("%q in bucket %q: %v", e.Key, e.Bucket, e.Err)
}

// Unwrap returns Err.
func (e *KeyError) Unwrap() error { return e.Err }

// NameKey returns err with the bucket and the key that it is about, as a *[KeyError]. An
// empty key is none: the error is about the bucket. NameKey returns an error unchanged
// that names them already: a *KeyError, *[RevisionMismatchError], *[CompactedError] or
// *[FutureRevisionError], or one that matches ErrBucketNotFound or ErrInvalidBucketName. It also returns an error unchanged that is about
// neither: nil, ErrClosed and those of a context. Stores call it; programs have no need to.
func NameKey(bucket, key string, err error) error {
	switch err := err.(type) { //nolint:errorlint // only the whole error counts
	case nil:
		return nil
	case *KeyError, *RevisionMismatchError, *CompactedError, *FutureRevisionError:
		return err
	}
	if err != ErrKeyNotFound { //nolint:errorlint // the most frequent one is not compared with the others
		for _, other := range [...]error{ErrClosed, ErrBucketNotFound, ErrInvalidBucketName, context.Canceled, context.DeadlineExceeded} {
			if errors.Is(err, other) {
				return err
			}
		}
	}
	return &KeyError{Bucket: bucket, Key: key, Err: err}
}
