package lineproto_test

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"kvd/internal/lineproto"
	"kvd/kv"
)

// sentinels are all errors that have a code.
var sentinels = map[lineproto.Code]error{
	"BUCKET_NOT_FOUND": kv.ErrBucketNotFound, "BUCKET_EXISTS": kv.ErrBucketExists, "KEY_NOT_FOUND": kv.ErrKeyNotFound,
	"KEY_EXISTS": kv.ErrKeyExists, "REVISION_MISMATCH": kv.ErrKeyRevisionMismatch, "INVALID_BUCKET_NAME": kv.ErrInvalidBucketName,
	"INVALID_KEY": kv.ErrInvalidKey, "INVALID_PATTERN": kv.ErrInvalidPattern, "INVALID_CONFIG": kv.ErrInvalidConfig,
	"INVALID_OPTION": kv.ErrInvalidOption, "HISTORY_TOO_LARGE": kv.ErrHistoryTooLarge, "VALUE_TOO_LARGE": kv.ErrValueTooLarge,
	"BUCKET_FULL": kv.ErrBucketFull, "INVALID_RECORD": kv.ErrInvalidRecord, "DIGEST_MISMATCH": kv.ErrDigestMismatch, "NOT_SUPPORTED": kv.ErrNotSupported, "COMPACTED": kv.ErrCompacted, "CLOSED": kv.ErrClosed,
	"READ_ONLY": kv.ErrReadOnly, "OUTCOME_UNKNOWN": kv.ErrOutcomeUnknown, "NO_SPACE": kv.ErrNoSpace, "TOO_MANY_FILES": kv.ErrTooManyFiles, "LOCKED": kv.ErrLocked,
	"NOT_STORE": kv.ErrNotStore, "VERSION": kv.ErrVersion, "CORRUPT": kv.ErrCorrupt,
	"AUTH_REQUIRED": lineproto.ErrAuthRequired, "AUTH_FAILED": lineproto.ErrAuthFailed, "DENIED": lineproto.ErrDenied,
	"TIMEOUT": lineproto.ErrTimeout, "TOO_MANY": lineproto.ErrTooMany, "SHUTDOWN": lineproto.ErrShutdown,
	"SYNTAX": lineproto.ErrSyntax, "INTERNAL": lineproto.ErrInternal,
}

// cross sends an error over the wire.
func cross(t *testing.T, err error, bucket, key string) error {
	t.Helper()
	line := lineproto.AppendError(nil, err, key)
	var r lineproto.Reply
	if n, perr := lineproto.ParseReply(line, &r); perr != nil || n != len(line) || r.Kind != lineproto.ReplyError {
		t.Fatalf("%q: size %d of %d, %v, error %v", line, n, len(line), r.Kind, perr)
	}
	got := r.Err(bucket, key)
	clear(line) // the decoded error does not refer to it
	return got
}

func TestEverySentinelCrossesTheWire(t *testing.T) {
	for code, sentinel := range sentinels {
		for _, err := range []error{
			sentinel,
			fmt.Errorf("%w: details", sentinel),
			fmt.Errorf("layer: %w", sentinel),
			fmt.Errorf("layer: %w: and %v again", sentinel, sentinel),
			fmt.Errorf("%w: two\r\nlines", sentinel),
		} {
			if got := lineproto.CodeOf(err); got != code {
				t.Errorf("code of %q is %s, want %s", err, got, code)
			}
			for _, key := range []string{"", "Key1"} {
				got := cross(t, err, "b", key)
				if want := strings.ReplaceAll(err.Error(), "\r\n", "  "); got.Error() != want && sentinel != lineproto.ErrSyntax && (key == "" || err != sentinel) {
					t.Errorf("%q arrives as %q", want, got)
				}
				for other, s := range sentinels {
					if errors.Is(got, s) != (other == code) {
						t.Errorf("%q matches %q: %v", got, s, errors.Is(got, s))
					}
				}
			}
		}
	}
}

func TestABareSentinelStaysItself(t *testing.T) {
	for _, sentinel := range sentinels {
		if sentinel == lineproto.ErrSyntax {
			continue
		}
		if got := cross(t, sentinel, "my-kv", "Key1"); got != sentinel {
			t.Errorf("%q arrives as %#v", sentinel, got)
		}
	}
	line := lineproto.AppendError(nil, kv.ErrKeyNotFound, "Key1")
	if string(line) != "-ERR KEY_NOT_FOUND : Key1\r\n" {
		t.Errorf("%q", line)
	}
}

func TestCodesAreOneToOne(t *testing.T) {
	if err := cross(t, io.ErrUnexpectedEOF, "", ""); !errors.Is(err, lineproto.ErrInternal) || err.Error() != "internal error: unexpected EOF" {
		t.Errorf("an unknown error arrives as %v", err)
	}
	var r lineproto.Reply
	if _, err := lineproto.ParseReply([]byte("-ERR FROM_THE_FUTURE a=1 : text\r\n"), &r); err != nil || !errors.Is(r.Err("", ""), lineproto.ErrInternal) {
		t.Errorf("an unknown code arrives as %v, %v", r.Err("", ""), err)
	}
}

func TestTypedErrorsCrossTheWire(t *testing.T) {
	for _, tt := range []struct {
		err  error
		line string
	}{
		{
			&kv.RevisionMismatchError{Bucket: "my-kv", Key: "Key1", Want: 1, Got: 2},
			"-ERR REVISION_MISMATCH actual=2 expected=1 : Key1 is at revision 2, expected 1\r\n",
		},
		{
			&kv.RevisionMismatchError{Bucket: "my-kv", Key: "Key1", Got: 1, Create: true},
			"-ERR KEY_EXISTS actual=1 : Key1 is at revision 1\r\n",
		},
		{
			&kv.RevisionMismatchError{Bucket: "my-kv", Key: "Key1", Want: 1<<64 - 1},
			"-ERR REVISION_MISMATCH actual=0 expected=18446744073709551615 : Key1 is at revision 0, expected 18446744073709551615\r\n",
		},
		{
			&kv.NameError{Name: "a b", Offset: 1, Reason: "' ' is not allowed", Err: kv.ErrInvalidKey},
			"-ERR INVALID_KEY name=\"a b\" at=1 reason=\"' ' is not allowed\" : invalid key \"a b\": ' ' is not allowed at byte 1\r\n",
		},
		{&kv.NameError{Name: "", Offset: -1, Reason: "it is empty", Err: kv.ErrInvalidPattern}, ""},
		{&kv.NameError{Name: "\x00\x01", Offset: 0, Reason: "bad", Err: kv.ErrInvalidBucketName}, ""},
		{
			&kv.LimitError{What: "value of \"k\"", Got: 1001, Max: 1000, Err: kv.ErrValueTooLarge},
			"-ERR VALUE_TOO_LARGE what=\"value of \\\"k\\\"\" got=1001 min=0 max=1000 : value of \"k\" is 1001, must be 0 to 1000\r\n",
		},
		{&kv.LimitError{What: "TTL", Got: -1, Min: 1, Err: kv.ErrInvalidOption}, ""},
		{
			&kv.LimitError{What: "sync interval", Got: 7_200e9, Max: 3_600e9, Duration: true, Err: kv.ErrInvalidConfig},
			"-ERR INVALID_CONFIG what=\"sync interval\" got=7200000000000 min=0 max=3600000000000 unit=ns : sync interval is 2h0m0s, must be 0s to 1h0m0s\r\n",
		},
		{&kv.LimitError{What: "history", Got: 65, Min: 1, Max: 64, Err: kv.ErrHistoryTooLarge}, ""},
		{&kv.LimitError{What: "bytes", Got: 1 << 40, Max: 1 << 30, Err: kv.ErrBucketFull}, ""},
		{
			&kv.CorruptError{File: "seg/000007.seg", Offset: 4096, Detail: "value checksum"},
			"-ERR CORRUPT file=seg/000007.seg offset=4096 detail=\"value checksum\" : seg/000007.seg at offset 4096: value checksum\r\n",
		},
		{&kv.CorruptError{File: "manifest.1", Offset: -1}, ""},
		{
			&kv.CorruptError{File: "f", Offset: 4096, Detail: "2 records are missing", Bucket: "my-kv", After: 2, UpTo: 4},
			"-ERR CORRUPT file=f offset=4096 detail=\"2 records are missing\" bucket=my-kv after=2 upto=4 : f at offset 4096: 2 records are missing. " +
				"Newer records are served, and writes without a condition are taken. Ways out: a backup; kvd repair, which copies what is sound; " +
				"reads that accept an old value (--stale, kv.WithStale, kvd serve --serve-stale my-kv); " +
				"kvd accept my-kv gives up what is missing, and kvd lost my-kv lists it\r\n",
		},
		{&kv.CorruptError{File: "f", Offset: 1, Detail: "d", Bucket: "b"}, ""},
		{&kv.CorruptError{File: "wal", Offset: -1, Detail: "a change may be missing", Bucket: "b", UpTo: 1<<64 - 1}, ""},
		// The text is longer than a line may carry; the fields are not.
		{&kv.CorruptError{File: strings.Repeat("f", 384), Offset: 1, Detail: strings.Repeat("d", 384), Bucket: strings.Repeat("b", kv.MaxBucketNameSize), After: 1, UpTo: 9}, ""},
		{
			&kv.CompactedError{Bucket: "my-kv", First: 90, Wanted: 7},
			"-ERR COMPACTED first=90 wanted=7 : bucket \"my-kv\" has everything from revision 90 on, not from 7\r\n",
		},
		{
			&kv.FutureRevisionError{Bucket: "my-kv", Newest: 120, Wanted: 900},
			"-ERR FUTURE_REVISION newest=120 wanted=900 : bucket \"my-kv\" is at revision 120 and cannot resume from 900: the store is an older copy of the one that was watched, or another store; begin a new watch\r\n",
		},
		{&kv.FutureRevisionError{Bucket: "my-kv", Wanted: 2}, ""},
	} {
		if line := lineproto.AppendError(nil, tt.err, "Key1"); tt.line != "" && string(line) != tt.line {
			t.Errorf("line is\n%q, want\n%q", line, tt.line)
		}
		if got := cross(t, tt.err, "my-kv", "Key1"); !reflect.DeepEqual(got, tt.err) {
			t.Errorf("%#v arrives as %#v", tt.err, got)
		}
	}
}

func TestACorruptErrorsCauseBecomesDetail(t *testing.T) {
	for _, err := range []error{
		&kv.CorruptError{File: "f", Offset: 1, Detail: "d", Err: io.EOF},
		&kv.CorruptError{File: "f", Offset: 1, Err: io.EOF},
	} {
		var corrupt *kv.CorruptError
		if got := cross(t, err, "", ""); !errors.As(got, &corrupt) || got.Error() != err.Error() {
			t.Errorf("%q arrives as %q", err, got)
		}
	}
}

func TestAWrappedTypedErrorKeepsTextAndType(t *testing.T) {
	corrupt := &kv.CorruptError{File: "f", Offset: 7, Detail: "d"}
	for _, tt := range []struct {
		err  error
		kind error
	}{
		{fmt.Errorf("get %q of bucket %q: %w", "k", "b", corrupt), kv.ErrCorrupt},
		{fmt.Errorf("%w: %w", kv.ErrReadOnly, corrupt), kv.ErrReadOnly},
	} {
		got := cross(t, tt.err, "b", "k")
		var c *kv.CorruptError
		if got.Error() != tt.err.Error() || !errors.Is(got, tt.kind) || !errors.As(got, &c) || *c != *corrupt {
			t.Errorf("%q arrives as %q", tt.err, got)
		}
	}
}

// TestTheWorstErrorFitsALine makes errors of strings that grow when they are quoted.
func TestTheWorstErrorFitsALine(t *testing.T) {
	for _, s := range []string{strings.Repeat("\"", 5000), strings.Repeat("\x00", 5000), strings.Repeat("ü", 5000), strings.Repeat("\xff", 5000)} {
		for _, err := range []error{
			&kv.CorruptError{File: s, Offset: -1 << 63, Detail: s},
			&kv.CorruptError{File: s, Offset: -1 << 63, Detail: s, Bucket: strings.Repeat("b", kv.MaxBucketNameSize), After: 1<<64 - 2, UpTo: 1<<64 - 1},
			&kv.NameError{Name: s, Offset: 1 << 60, Reason: s, Err: kv.ErrInvalidKey},
			&kv.LimitError{What: s, Got: -1 << 63, Min: -1 << 63, Max: -1 << 63, Err: kv.ErrValueTooLarge},
			errors.New(s),
		} {
			if line := lineproto.AppendError(nil, err, ""); len(line) > lineproto.MaxLine {
				t.Errorf("a line of %d bytes: %.80q", len(line), line)
			}
			cross(t, err, "", "")
			e := kv.Entry{Key: strings.Repeat("k", kv.MaxKeySize), Operation: kv.Put, Revision: 1<<64 - 1, Delta: 1<<64 - 1}
			if line := lineproto.AppendLost(nil, &e, err); len(line) > lineproto.MaxLine {
				t.Errorf("+LOST of %d bytes: %.80q", len(line), line)
			}
		}
	}
}
