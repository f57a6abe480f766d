package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"syscall"
	"testing"
	"time"

	"kvd/client"
	"kvd/kv"
)

func TestParseSize(t *testing.T) {
	good := map[string]int64{
		"0": 0, "512": 512, "-1": -1, "1k": 1 << 10, "1K": 1 << 10, "1KB": 1 << 10, "1 KiB": 1 << 10, "3MB": 3 << 20,
		"16MiB": 16 << 20, "2g": 2 << 30, "1TiB": 1 << 40, "7B": 7, " 8 ": 8,
	}
	for s, want := range good {
		if got, err := parseSize(s); got != want || err != nil {
			t.Errorf("%q is %d, %v, want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "K", "1.5M", "-2", "-1K", "ten", "1KK", "9999999999G", "0x10", "99999999999999999999"} {
		if got, err := parseSize(s); err == nil {
			t.Errorf("%q is taken for %d", s, got)
		}
	}
}

func TestParseAge(t *testing.T) {
	good := map[string]time.Duration{
		"90s": 90 * time.Second, "1h30m": 90 * time.Minute, "7d": 7 * 24 * time.Hour, "2w": 14 * 24 * time.Hour, "1d12h": 36 * time.Hour, "0d": 0, "0": 0, "100ms": 100 * time.Millisecond,
	}
	for s, want := range good {
		if got, err := parseAge(s); got != want || err != nil {
			t.Errorf("%q is %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "d", "soon", "5", "-1d", "1.5d", "999999999999d"} {
		if got, err := parseAge(s); err == nil {
			t.Errorf("%q is taken for %v", s, got)
		}
	}
}

func TestPrintable(t *testing.T) {
	for v, want := range map[string]string{
		"":          "",
		"plain":     "plain",
		"größe ✓":   "größe ✓",
		"a\tb":      `"a\tb"`,
		"a\n":       `"a\n"`,
		"\xff":      `"\xff"`,
		`"quoted"`:  `"\"quoted\""`, // or it could not be told from a literal
		"\x1b[31m!": `"\x1b[31m!"`,  // nobody's value colours a terminal
	} {
		if got := printable([]byte(v)); got != want {
			t.Errorf("%q is printed as %s, want %s", v, got, want)
		}
	}
}

func TestBytesText(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1 << 20: "1.0 MiB", 64 << 20: "64 MiB", math.MaxUint64: "16 EiB",
	} {
		if got := bytesText(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
}

func TestCodeOf(t *testing.T) {
	corrupt := &kv.CorruptError{File: "f"}
	for _, tt := range []struct {
		err  error
		want exitCode
	}{
		{nil, exitOK},
		{errors.New("anything"), exitOther},
		{kv.ErrClosed, exitOther},
		{syscall.EIO, exitOther}, // it has a method Timeout, and is no connection's
		{&usageError{"kvd", errors.New("x")}, exitUsage},
		{kv.ErrInvalidConfig, exitUsage},
		{kv.ErrBucketNotFound, exitNotFound},
		{kv.ErrCompacted, exitNotFound},
		{&kv.RevisionMismatchError{Create: true}, exitConflict},
		{&kv.RevisionMismatchError{}, exitConflict},
		{fmt.Errorf("listen: %w", syscall.EADDRINUSE), exitConflict},
		{kv.ErrLocked, exitConflict},
		{context.DeadlineExceeded, exitConnection},
		{&client.ConnError{Err: errors.New("x")}, exitConnection},
		{&net.OpError{Op: "dial", Err: errors.New("x")}, exitConnection},
		{&net.OpError{Op: "listen", Err: errors.New("x")}, exitOther},
		{&client.ConnError{Err: client.ErrAuthFailed}, exitDenied},
		{client.ErrDenied, exitDenied},
		{kv.ErrHistoryTooLarge, exitLimit},
		{kv.ErrNoSpace, exitLimit},
		{corrupt, exitCorrupt},
		{fmt.Errorf("%w: %w", kv.ErrReadOnly, corrupt), exitCorrupt},
		{errInterrupted, exitInterrupted},
	} {
		if got := codeOf(tt.err); got != tt.want {
			t.Errorf("%v ends with %d, want %d", tt.err, got, tt.want)
		}
	}
}

func TestExplainIsOneLine(t *testing.T) {
	err := errors.Join(errors.New("first\n"), kv.ErrBucketNotFound)
	if got := explain(err); got != `first; ; bucket not found ("kvd ls" lists the buckets, "kvd add" creates one)` {
		t.Errorf("explained as %s", got)
	}
}

func TestLatencies(t *testing.T) {
	var l, other latencies
	if l.at(0.5) != 0 {
		t.Error("of nothing there is a median")
	}
	for i := range 1000 {
		part := &l
		if i%2 == 1 {
			part = &other
		}
		part.add(time.Duration(i+1) * time.Microsecond)
	}
	l.merge(&other)
	if l.count != 1000 || l.max != time.Millisecond {
		t.Errorf("%d durations up to %v", l.count, l.max)
	}
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 501, 0.9: 901, 0.99: 991, 1: 1000} {
		want *= time.Microsecond
		if got := l.at(q); got < want || got > want+want/32 {
			t.Errorf("the quantile %v is %v, want %v", q, got, want)
		}
	}
}

// TestLatencyBuckets has every duration in a bucket that ends at most 1/32 above
// it, and buckets in order.
func TestLatencyBuckets(t *testing.T) {
	last := -1
	for _, d := range []time.Duration{-1, 0, 1, 31, 32, 63, 64, 65, 127, 128, 1000, 1e6, 1e9, 3.6e12, math.MaxInt64} {
		b := latencyBucket(d)
		if b < last || b >= latencyBuckets {
			t.Fatalf("%v is in bucket %d, behind %d, of %d", d, b, last, latencyBuckets)
		}
		last = b
		if end := latencyEnd(b); d >= 0 && (end < d || end-d > d/32) {
			t.Errorf("%v is in bucket %d, which ends at %v", d, b, end)
		}
	}
}

func TestAddressesWithoutAPort(t *testing.T) {
	for address, want := range map[string]string{
		"":             serverDefault,
		"db.local":     "db.local:5830",
		"127.0.0.1":    "127.0.0.1:5830",
		"db.local:1":   "db.local:1",
		"[::1]:1":      "[::1]:1",
		"too:many:::0": "too:many:::0", // the client says what is wrong with it
	} {
		if got := withPort(address); got != want {
			t.Errorf("%q is %q, want %q", address, got, want)
		}
	}
}

func TestReadableDurations(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                      "0s",
		123_456:                "123.5µs",
		2_818_047:              "2.82ms",
		46_137_343:             "46.14ms",
		1_234_567_890:          "1.23s",
		100 * time.Millisecond: "100ms",
	} {
		if got := readable(d).String(); got != want {
			t.Errorf("%d ns are %q, want %q", d, got, want)
		}
	}
}
