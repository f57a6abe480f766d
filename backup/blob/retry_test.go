package blob_test

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kvd/backup/blob"
	"kvd/backup/blob/blobtest"
)

// Every call is made again until its answer arrives, whether or not the one before has had an effect.
func TestRetry(t *testing.T) {
	for _, outcome := range []blobtest.Outcome{blobtest.Fails, blobtest.Forgot} {
		blobtest.Run(t, func(t *testing.T) blob.Store {
			f := &blobtest.Fault{Store: openDir(t, filepath.Join(t.TempDir(), "repo")), Fail: func(call int, _, _ string) blobtest.Outcome {
				if call%3 < 2 {
					return outcome
				}
				return blobtest.Works
			}}
			// Calls at once share the numbers: a call may fail more than twice.
			return blob.Retry(f, blob.Backoff{Tries: 100, First: time.Nanosecond, Most: time.Nanosecond})
		})
	}
}

// The waits double up to a bound, and the error says how often a call was tried.
func TestRetryGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &blobtest.Fault{Store: openDir(t, filepath.Join(t.TempDir(), "repo")), Fail: func(int, string, string) blobtest.Outcome { return blobtest.Fails }}
		began := time.Now()
		err := blob.Retry(f, blob.Backoff{}).Put(t.Context(), "object", nil)
		if !errors.Is(err, blob.ErrUnavailable) || !strings.Contains(err.Error(), "tried 8 times") || f.Calls() != 8 {
			t.Errorf("%v after %d calls", err, f.Calls())
		}
		// 0.2 + 0.4 + 0.8 + 1.6 + 3.2 + 6.4 + 10 s, and at least the half of it
		if waited := time.Since(began); waited < 11300*time.Millisecond || waited > 22600*time.Millisecond {
			t.Errorf("it waited %v", waited)
		}
	})
}

// What would fail again is tried once, and the end of the context ends a wait.
func TestRetryOfWhatFailsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &blobtest.Fault{Store: openDir(t, filepath.Join(t.TempDir(), "repo")), Fail: func(int, string, string) blobtest.Outcome { return blobtest.Refuse }}
		r := blob.Retry(f, blob.Backoff{})
		if err := r.Put(t.Context(), "object", nil); !errors.Is(err, blobtest.ErrRefused) || f.Calls() != 1 {
			t.Errorf("%v after %d calls", err, f.Calls())
		}
		f.Fail = func(int, string, string) blobtest.Outcome { return blobtest.Fails }
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Put(ctx, "object", nil); err == nil || f.Calls() > 6 {
			t.Errorf("%v after %d calls", err, f.Calls())
		}
	})
}

// A try that hangs ends, and another one is made.
func TestRetryEndsATryThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := openDir(t, filepath.Join(t.TempDir(), "repo"))
		h := &hanging{Store: d, left: 2}
		if err := blob.Retry(h, blob.Backoff{}).Put(t.Context(), "object", []byte("one")); err != nil {
			t.Fatal(err)
		}
		if got, err := blob.Get(t.Context(), d, "object", 3); err != nil || !bytes.Equal(got, []byte("one")) {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// hanging is a store that does not answer the first puts.
type hanging struct {
	blob.Store
	left int
}

func (h *hanging) Put(ctx context.Context, name string, data []byte) error {
	if h.left--; h.left >= 0 {
		<-ctx.Done()
		return ctx.Err()
	}
	return h.Store.Put(ctx, name, data)
}

func TestGetIsBounded(t *testing.T) {
	d := openDir(t, filepath.Join(t.TempDir(), "repo"))
	if err := d.Put(t.Context(), "object", make([]byte, 11)); err != nil {
		t.Fatal(err)
	}
	if _, err := blob.Get(t.Context(), d, "object", 10); !errors.Is(err, blob.ErrTooLarge) {
		t.Error(err)
	}
}
