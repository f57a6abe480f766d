package client

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"kvd/internal/lineproto"
	"kvd/kv"
)

// manyReplies has one reply of each kind.
var manyReplies = helloReply + "\r\n" +
	"+OK\r\n+OK 17\r\n" +
	entryReply("key.of/it", 3, "value\r\n+OK 5\r\n") +
	"-ERR KEY_NOT_FOUND : k\r\n" +
	"+KEY a.b\r\n+BUCKET b\r\n+END 2\r\n" +
	"+LOST k 4 PUT " + created + " CORRUPT file=\"a b\" offset=5 detail=d : damaged\r\n" +
	"EVENT 1 k 4 EXPIRE " + created + " 9 0\r\n\r\nSYNCED 1\r\nEND 1 COMPACTED first=90 : gone\r\n" +
	entryReply("k", 9, "") + "+OK 18\r\n"

// readAll reads replies to the end and describes them.
func readAll(from io.Reader) (all []string, err error) {
	rs := newReplies(from)
	for {
		r, err := rs.next()
		if err != nil {
			return all, err
		}
		all = append(all, fmt.Sprintf("%v %d %q %d %q %q %v", r.Kind, r.Number, r.Name, r.Watch, r.Entry.Key, r.Entry.Value, r.Err("b", "k")))
	}
}

// pieces is a reader that returns one of its strings at a time.
type pieces []string

func (p *pieces) Read(b []byte) (int, error) {
	if len(*p) == 0 {
		return 0, io.EOF
	}
	n := copy(b, (*p)[0])
	if (*p)[0] = (*p)[0][n:]; (*p)[0] == "" {
		*p = (*p)[1:]
	}
	return n, nil
}

func TestRepliesSplitAtEveryByteAreTheSame(t *testing.T) {
	want, err := readAll(strings.NewReader(manyReplies))
	if !errors.Is(err, errHungUp) || len(want) != 14 {
		t.Fatalf("%d replies, then %v", len(want), err)
	}
	if got, _ := readAll(iotest.OneByteReader(strings.NewReader(manyReplies))); !slices.Equal(got, want) {
		t.Errorf("byte by byte: %q, want %q", got, want)
	}
	for i := range manyReplies {
		if got, err := readAll(&pieces{manyReplies[:i], manyReplies[i:]}); !errors.Is(err, errHungUp) || !slices.Equal(got, want) {
			t.Fatalf("split at %d: %q, want %q", i, got, want)
		}
		if got, err := readAll(strings.NewReader(manyReplies[:i])); !errors.Is(err, errHungUp) || !slices.Equal(got, want[:len(got)]) {
			t.Fatalf("cut at %d: %q, then %v", i, got, err)
		}
	}
}

// TestRepliesOfAnySizeAreTheSame puts a value of each size near the buffer's size between
// two others. So the buffer is moved and grown at every place.
func TestRepliesOfAnySizeAreTheSame(t *testing.T) {
	for size := 0; size < 3*readSize; size += 509 {
		text := manyReplies + entryReply("large", 8, strings.Repeat("x", size)) + "+OK 19\r\n"
		got, err := readAll(strings.NewReader(text))
		if !errors.Is(err, errHungUp) || len(got) != 16 || strings.Count(got[14], "x") != size {
			t.Fatalf("with a value of %d bytes: %d replies, then %v", size, len(got), err)
		}
	}
}

func TestRepliesStopAtTheReadersError(t *testing.T) {
	broken := errors.New("broken")
	_, err := readAll(io.MultiReader(strings.NewReader("+OK 1\r\n+O"), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) {
		t.Errorf("error is %v", err)
	}
}

func TestRepliesBoundTheirBuffer(t *testing.T) {
	rs := newReplies(strings.NewReader(fmt.Sprintf("+ENTRY k 1 PUT %s %d\r\n", created, kv.MaxValueSizeLimit+lineproto.MaxLine)))
	_, err := rs.next()
	if err == nil || errors.Is(err, errHungUp) || len(rs.buf) > readSize {
		t.Errorf("error is %v, with a buffer of %d bytes", err, len(rs.buf))
	}
}

func TestRepliesLetGoOfALargeBuffer(t *testing.T) {
	large := entryReply("k", 1, strings.Repeat("x", 2*readKept))
	rs := newReplies(&pieces{large, "+OK 1\r\n", "+OK 2\r\n"})
	for range 3 {
		if _, err := rs.next(); err != nil {
			t.Fatal(err)
		}
	}
	if len(rs.buf) > readSize {
		t.Errorf("a buffer of %d bytes is left", len(rs.buf))
	}
}

// oddReplies are replies to GET of k that a sound server does not send.
var oddReplies = map[string]string{
	"no reply at all":       "hello there\r\n",
	"an empty line":         "\r\n",
	"HTTP":                  "HTTP/1.1 400 Bad Request\r\n",
	"LF alone":              "+OK\n",
	"CR alone":              "+OK\r+OK\r\n",
	"a line without end":    "+ENTRY " + strings.Repeat("k", lineproto.MaxLine),
	"a write's answer":      "+OK 5\r\n",
	"a key":                 "+KEY k\r\n",
	"an end":                "+END 0\r\n",
	"a greeting":            helloReply + "\r\n",
	"an event":              "EVENT 1 k 1 PUT " + created + " 0 0\r\n\r\n",
	"a status":              "+INFO b id=7\r\n",
	"another key's entry":   entryReply("l", 1, "v"),
	"no such operation":     "+ENTRY k 1 POST " + created + " 0\r\n\r\n",
	"no such time":          "+ENTRY k 1 PUT yesterday 0\r\n\r\n",
	"a negative length":     "+ENTRY k 1 PUT " + created + " -1\r\n\r\n",
	"a huge length":         "+ENTRY k 1 PUT " + created + " 99999999999\r\n",
	"a length too small":    "+ENTRY k 1 PUT " + created + " 1\r\nvalue\r\n",
	"an error without text": "-ERR\r\n",
}

// TestOddReplyEndsTheConnection answers a read and a write with every odd reply. The
// client sends the read again; the outcome of the write is unknown.
func TestOddReplyEndsTheConnection(t *testing.T) {
	for name, odd := range oddReplies {
		t.Run(name, func(t *testing.T) {
			b := play(t, func(s *session) {
				s.hello()
				s.want("GET b k id=7")
				s.raw(odd)
				s.line()
			}, func(s *session) {
				s.hello()
				s.want("GET b k id=7")
				s.raw(entryReply("k", 1, "value"))
				s.want("DEL b k id=7")
				if strings.HasPrefix(odd, "+OK 5") {
					odd = entryReply("k", 2, "")
				}
				s.raw(odd)
				s.line()
			}, func(s *session) {
				s.hello()
				s.silence()
			}).bucket(Options{})
			if e, err := b.Get(t.Context(), "k"); err != nil || string(e.Value) != "value" {
				t.Errorf("read: entry is %+v, %v", e, err)
			}
			_, err := b.Delete(t.Context(), "k")
			outcomeIs(t, err, new(*ConnError))
		})
	}
}

// TestReplyThatNobodyAskedForEndsTheConnection sends a reply to an idle client.
func TestReplyThatNobodyAskedForEndsTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := play(t, func(s *session) {
			s.hello()
			s.say("+OK 2")
			s.silence()
		}, answering(func(string) string { return "+OK 5\r\n" })).bucket(Options{})
		synctest.Wait()
		if rev, err := b.Touch(t.Context(), "k"); rev != 5 || err != nil {
			t.Errorf("revision %d, %v", rev, err)
		}
	})
}
