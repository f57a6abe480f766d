package kv_test

import (
	"context"
	"errors"
	"testing"

	"kvd/kv"
)

// onlyName is a bucket of which the test reaches the name alone.
type onlyName struct{ kv.Bucket }

func (onlyName) Name() string { return "b" }

// refusing is a codec that encodes nothing.
type refusing struct{ err error }

func (r refusing) Encode(int) ([]byte, error) { return nil, r.err }
func (r refusing) Decode([]byte) (int, error) { return 0, r.err }

// one is a bucket with one entry.
type one struct {
	onlyName
	entry kv.Entry
}

func (o one) Get(context.Context, string) (kv.Entry, error) { return o.entry, nil }

func TestTypedErrors(t *testing.T) {
	cause := errors.New("refused")
	typed := kv.Typed[int]{Bucket: onlyName{}, Codec: refusing{cause}}
	const want = `"k" in bucket "b": encode: refused`
	_, putErr := typed.Put(t.Context(), "k", 1)
	_, createErr := typed.Create(t.Context(), "k", 1)
	_, updateErr := typed.Update(t.Context(), "k", 1, 1)
	for _, err := range []error{putErr, createErr, updateErr} {
		if !errors.Is(err, cause) || err.Error() != want {
			t.Errorf("error is %q, want %q", err, want)
		}
	}
	typed.Bucket = one{entry: kv.Entry{Bucket: "b", Key: "k", Value: []byte("1"), Revision: 7, Operation: kv.Put}}
	_, err := typed.Get(t.Context(), "k")
	if want := `decode "k" in bucket "b" at revision 7: refused`; !errors.Is(err, cause) || err.Error() != want {
		t.Errorf("error is %q, want %q", err, want)
	}
	typed.Codec = nil
	if e, err := typed.Get(t.Context(), "k"); err != nil || e.Value != 1 || string(e.Entry.Value) != "1" {
		t.Errorf("the entry is %+v, %v", e, err)
	}
}
