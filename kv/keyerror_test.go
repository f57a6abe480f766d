package kv_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"kvd/kv"
)

func TestNameKey(t *testing.T) {
	named := &kv.KeyError{Bucket: "other", Key: "other", Err: kv.ErrKeyNotFound}
	for _, c := range []struct {
		key  string
		err  error
		text string // "": the error is returned unchanged
	}{
		{"k", kv.ErrKeyNotFound, `key not found: "k" in bucket "b"`},
		{"k", fmt.Errorf("%w: why", kv.ErrKeyNotFound), `"k" in bucket "b": key not found: why`},
		{"a b", kv.CheckKey("a b"), `bucket "b": invalid key "a b": ' ' is not allowed at byte 1`},
		{"", kv.CheckPattern(""), `bucket "b": invalid pattern "": it is empty`},
		{"k", &kv.CorruptError{File: "f", Offset: 8}, `"k" in bucket "b": corrupt: f at offset 8`},
		{"k", kv.ErrReadOnly, `"k" in bucket "b": read-only`},
		{"k", nil, ""},
		{"k", named, ""},
		{"k", &kv.RevisionMismatchError{Bucket: "b", Key: "k", Got: 1}, ""},
		{"", &kv.CompactedError{Bucket: "b", First: 2}, ""},
		{"", &kv.FutureRevisionError{Bucket: "b", Wanted: 2}, ""},
		{"k", fmt.Errorf("%w: %q", kv.ErrBucketNotFound, "b"), ""},
		{"k", kv.ErrClosed, ""},
		{"k", context.Canceled, ""},
		{"k", fmt.Errorf("wait: %w", context.DeadlineExceeded), ""},
	} {
		got := kv.NameKey("b", c.key, c.err)
		switch {
		case c.text == "" && got != c.err:
			t.Errorf("%v became %v", c.err, got)
		case c.text != "" && (got.Error() != c.text || !errors.Is(got, c.err)):
			t.Errorf("%v became %q, want %q", c.err, got, c.text)
		}
	}
}

func ExampleKeyError() {
	err := fmt.Errorf("load the settings: %w", kv.NameKey("cfg", "db.host", kv.ErrKeyNotFound))
	fmt.Println(err)
	var missing *kv.KeyError
	if errors.Is(err, kv.ErrKeyNotFound) && errors.As(err, &missing) {
		fmt.Println("set", missing.Key, "in", missing.Bucket)
	}
	// Output:
	// load the settings: key not found: "db.host" in bucket "cfg"
	// set db.host in cfg
}
