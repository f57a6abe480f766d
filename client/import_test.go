package client

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"kvd/kv"
	"kvd/kv/digest"
)

// imported is a record of an import.
func imported(revision int, size int) kv.Entry {
	return kv.Entry{
		Key: fmt.Sprintf("key.%d", revision), Revision: kv.Revision(revision), Created: time.Unix(1_700_000_000, 0),
		Operation: kv.Put, Value: []byte(strings.Repeat("v", size)),
	}
}

func sum(records []kv.Entry) (d kv.Digest) {
	for n := range records {
		d = d.Add(digest.OfEntry(&records[n]))
	}
	return d
}

// serveImports starts a server of a new store, which ends with the test.
func serveImports(t *testing.T) *realServer {
	t.Helper()
	s := serveDir(t, t.TempDir())
	t.Cleanup(func() {
		s.stop()
		if err := s.close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func beginImport(t *testing.T, c *Client, cfg kv.Config) *Import {
	t.Helper()
	i, err := c.ImportBucket(t.Context(), cfg, 0)
	if err != nil {
		t.Fatal(err)
	}
	return i.(*Import)
}

// Records of many sizes, in more than one command, and one that is larger than a command of many.
func TestAnImportOfManyCommands(t *testing.T) {
	c := serveImports(t).dial(t, Options{})
	i := beginImport(t, c, kv.Config{Bucket: "b", MaxValueSize: 8 << 20})
	var records []kv.Entry
	for n := range 3000 {
		records = append(records, imported(n+1, rand.IntN(6000)))
	}
	records = append(records, imported(9999, 5<<20), imported(10000, 1))
	if err := errors.Join(i.Write(t.Context(), records), i.Write(t.Context(), nil), i.Commit(t.Context(), sum(records))); err != nil {
		t.Fatal(err)
	}
	b := findBucket(t, c)
	st, err := b.Status(t.Context())
	if err != nil || st.Values != uint64(len(records)) || st.Digest == nil || *st.Digest != sum(records) {
		t.Fatalf("%+v, %v", st, err)
	}
	for _, n := range []int{0, 1500, 3000, 3001} {
		if e, err := b.Get(t.Context(), records[n].Key); err != nil || string(e.Value) != string(records[n].Value) {
			t.Errorf("%q: %d bytes, %v", records[n].Key, len(e.Value), err)
		}
	}
}

// A record that is refused behind a command that was written leaves an import that can only be
// discarded. Where it is in the first command, the import goes on.
func TestARefusalBehindTheFirstCommand(t *testing.T) {
	c := serveImports(t).dial(t, Options{})
	bad := imported(10, 1)
	bad.Revision = 1
	for _, size := range []int{1, 3 << 20} {
		i := beginImport(t, c, kv.Config{Bucket: "b", MaxValueSize: 8 << 20})
		records := []kv.Entry{imported(1, size), imported(2, size)}
		if err := i.Write(t.Context(), append(records, bad)); !errors.Is(err, kv.ErrInvalidRecord) || !strings.Contains(err.Error(), "key.10") {
			t.Errorf("%v", err)
		}
		err := i.Write(t.Context(), records)
		if goesOn := size == 1; (err == nil) != goesOn || !goesOn && !strings.Contains(err.Error(), "can only be discarded") {
			t.Errorf("records of %d bytes behind the refusal: %v", size, err)
		}
		if err := i.Discard(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// When the connection breaks, the import is over.
func TestAnImportWhoseConnectionBreaks(t *testing.T) {
	s := serveImports(t)
	c := s.dial(t, Options{})
	records := []kv.Entry{imported(1, 10)}
	written, committed := beginImport(t, c, kv.Config{Bucket: "b"}), beginImport(t, c, kv.Config{Bucket: "b"})
	if err := errors.Join(written.Write(t.Context(), records), committed.Write(t.Context(), records)); err != nil {
		t.Fatal(err)
	}
	_ = committed.wire.net.Close()
	s.kill()
	var broken *ConnError
	if err := written.Write(t.Context(), []kv.Entry{imported(2, 10)}); !errors.As(err, &broken) {
		t.Errorf("write: %v", err)
	}
	if err := written.Commit(t.Context(), sum(records)); errors.Is(err, kv.ErrOutcomeUnknown) || !errors.Is(err, kv.ErrReadOnly) || !errors.As(err, &broken) {
		t.Errorf("commit behind it: %v", err)
	}
	if err := committed.Commit(t.Context(), sum(records)); !errors.Is(err, kv.ErrOutcomeUnknown) || !errors.As(err, &broken) {
		t.Errorf("commit: %v", err)
	}
	for _, i := range []*Import{written, committed} {
		if err := i.Discard(t.Context()); err != nil {
			t.Errorf("discard: %v", err)
		}
	}
	s.start()
	if _, err := c.Bucket(t.Context(), "b"); !errors.Is(err, kv.ErrBucketNotFound) {
		t.Errorf("the bucket: %v", err)
	}
}

func TestTheContextOfAnImport(t *testing.T) {
	c := serveImports(t).dial(t, Options{})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.ImportBucket(ended, kv.Config{Bucket: "b"}, 0); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	i := beginImport(t, c, kv.Config{Bucket: "b"})
	records := []kv.Entry{imported(1, 10)}
	for _, err := range []error{i.Write(ended, records), i.Commit(ended, sum(records)), i.Discard(ended)} {
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	if err := errors.Join(i.Write(t.Context(), records), i.Commit(t.Context(), sum(records))); err != nil {
		t.Errorf("nothing was begun, and yet: %v", err)
	}
	other := beginImport(t, c, kv.Config{Bucket: "c"})
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := other.Write(t.Context(), records); !errors.Is(err, kv.ErrClosed) {
		t.Errorf("write of a closed client: %v", err)
	}
}
