package lineproto_test

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"kvd/internal/lineproto"
	"kvd/kv"
)

// FuzzCommandParser checks, for any bytes: the answer for every prefix agrees with that
// for the whole; sizes and lengths are within the input; and a parsed command that is
// written and parsed again is the same.
func FuzzCommandParser(f *testing.F) {
	for _, tt := range commands {
		f.Add([]byte(tt.text))
	}
	for _, text := range []string{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "PUT b k 01\r\n", "PUT b k 3\r\nab\r\n", "ADD b  history=5\r\n", "AUTH a \"\\u00e9\"\r\n", "PING\n", "\x16\x03\x01"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, buf []byte) {
		var whole, part lineproto.Command
		n, err := lineproto.ParseCommand(buf, &whole)
		if err == nil && (n <= 0 || n > len(buf)) || err == lineproto.ErrIncomplete && n <= len(buf) {
			t.Fatalf("%q: size %d of %d, error %v", buf, n, len(buf), err)
		}
		for cut := 0; cut <= len(buf); cut += 1 + cut/64 {
			m, perr := lineproto.ParseCommand(buf[:cut], &part)
			agrees(t, buf, cut, n, m, err, perr)
		}
		if err != nil {
			return
		}
		if whole.Length != len(whole.Value) && whole.Length >= 0 {
			t.Fatalf("%q: a length of %d and %d bytes", buf, whole.Length, len(whole.Value))
		}
		if whole.Refused == nil {
			writesBack(t, buf, &whole)
		}
	})
}

// agrees checks the answer for a prefix against that for the whole.
func agrees(t *testing.T, buf []byte, cut, n, m int, err, perr error) {
	t.Helper()
	switch {
	case err == nil && cut >= n:
		if perr != nil || m != n {
			t.Fatalf("%q: cut at %d size %d, error %v; whole: %d", buf, cut, m, perr, n)
		}
	case perr == lineproto.ErrIncomplete:
		if m <= cut || err == nil && m > n {
			t.Fatalf("%q: cut at %d it needs %d bytes; whole: %d, %v", buf, cut, m, n, err)
		}
	case perr == nil || err == nil || perr.Error() != err.Error():
		t.Fatalf("%q: cut at %d error %v; whole: %v", buf, cut, perr, err)
	}
}

func writesBack(t *testing.T, buf []byte, c *lineproto.Command) {
	t.Helper()
	line, err := lineproto.AppendCommand(nil, c)
	if err != nil {
		// The parser accepts some commands that cannot be written again: those with a bad
		// key, which the store refuses, and those that the canonical spelling makes too
		// long for a line.
		if !errors.Is(err, lineproto.ErrSyntax) {
			t.Fatalf("%q parses and cannot be sent: %v", buf, err)
		}
		return
	}
	var again lineproto.Command
	if n, err := lineproto.ParseCommand(line, &again); err != nil || n != len(line) {
		t.Fatalf("%q is written %q: size %d, error %v", buf, line, n, err)
	}
	if !reflect.DeepEqual(meaning(*c), meaning(again)) {
		t.Fatalf("%q is\n%+v, written %q it is\n%+v", buf, meaning(*c), line, meaning(again))
	}
	if c.Verb == lineproto.VerbAdd || c.Verb == lineproto.VerbEdit {
		var cfg kv.Config
		_, _ = c.ApplyConfig(&cfg) // does not panic
	}
}

// FuzzReplyParser checks the same of replies, if they can be written again.
func FuzzReplyParser(f *testing.F) {
	for _, tt := range replies {
		f.Add([]byte(tt.text))
	}
	full := kv.Status{Config: fullConfig(), Created: created, ReadOnly: kv.ErrReadOnly}
	f.Add(lineproto.AppendInfo(nil, &full))
	f.Add([]byte("-ERR REVISION_MISMATCH actual=2 expected=1 : Key1 is at revision 2, expected 1\r\n"))
	f.Add([]byte("-ERR INVALID_KEY name=\"a b\" at=1 reason=blank : text\r\n"))
	f.Fuzz(func(t *testing.T, buf []byte) {
		var whole, part lineproto.Reply
		n, err := lineproto.ParseReply(buf, &whole)
		if err == nil && (n <= 0 || n > len(buf)) || err == lineproto.ErrIncomplete && n <= len(buf) {
			t.Fatalf("%q: size %d of %d, error %v", buf, n, len(buf), err)
		}
		for cut := 0; cut <= len(buf); cut += 1 + cut/64 {
			m, perr := lineproto.ParseReply(buf[:cut], &part)
			agrees(t, buf, cut, n, m, err, perr)
		}
		if err != nil {
			return
		}
		switch whole.Kind {
		case lineproto.ReplyEntry:
			repliesBack(t, buf, &whole, lineproto.AppendEntry(nil, &whole.Entry))
		case lineproto.ReplyEvent:
			repliesBack(t, buf, &whole, lineproto.AppendUpdate(nil, whole.Watch, &kv.Update{Entry: &whole.Entry, ValueSize: int(whole.Size)}))
		case lineproto.ReplyInfo:
			_, _ = whole.Status() // does not panic
		case lineproto.ReplyError, lineproto.ReplyLost, lineproto.ReplyLostEvent, lineproto.ReplyWatchEnd:
			failsBack(t, buf, &whole)
		}
	})
}

func repliesBack(t *testing.T, buf []byte, r *lineproto.Reply, line []byte) {
	t.Helper()
	if i := bytes.Index(line, []byte("\r\n")); i+2 > lineproto.MaxLine {
		return // too long with a bad key, which no store accepts, and a time whose written form is longer
	}
	var again lineproto.Reply
	if n, err := lineproto.ParseReply(line, &again); err != nil || n != len(line) || !sameReply(r, &again) {
		t.Fatalf("%q is\n%+v, written %q it is\n%+v, error %v", buf, *r, line, again, err)
	}
}

// failsBack sends the error again and checks that it arrives with the same code and kind.
func failsBack(t *testing.T, buf []byte, r *lineproto.Reply) {
	t.Helper()
	err := r.Err("b", "k")
	if err == nil {
		if r.Kind != lineproto.ReplyWatchEnd {
			t.Fatalf("%q is no error", buf)
		}
		return
	}
	line := lineproto.AppendError(nil, err, "k")
	var again lineproto.Reply
	if n, perr := lineproto.ParseReply(line, &again); perr != nil || n != len(line) || len(line) > lineproto.MaxLine {
		t.Fatalf("%q is written %q: size %d of %d, error %v", buf, line, n, len(line), perr)
	}
	if got := again.Err("b", "k"); lineproto.CodeOf(got) != lineproto.CodeOf(err) {
		t.Fatalf("%q is %v, sent on it is %v", buf, err, got)
	}
}
