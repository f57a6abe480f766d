package wire

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// parseAll reads operations until an error, and writes what it read.
func parseAll(in []byte, maxPayload int) (out string, rest int) {
	var b strings.Builder
	var o Operation
	at := 0
	for {
		n, err := Parse(in[at:], maxPayload, &o)
		if errors.Is(err, ErrIncomplete) {
			return b.String(), at
		}
		if err != nil {
			fmt.Fprintf(&b, "error %q\n", err)
			return b.String(), -1
		}
		fmt.Fprintf(&b, "%d %q %q %q %q %d %q %q %q %d\n", o.Verb, o.Subject, o.Reply, o.Queue, o.SID, o.Max, o.JSON, o.Header, o.Payload, o.Size)
		at += n
	}
}

// parseSplit reads the same in pieces: what is not complete waits for more.
func parseSplit(in []byte, maxPayload int, cuts ...int) string {
	var b strings.Builder
	start := 0
	for _, end := range append(cuts, len(in)) {
		out, n := parseAll(in[start:end], maxPayload)
		b.WriteString(out)
		if n < 0 {
			break
		}
		start += n
	}
	return b.String()
}

const everyOperation = "CONNECT {\"verbose\":false}\r\nping\r\nPONG\n+OK\r\nINFO {}\r\n" +
	"SUB a.b 1\r\nsub\ta.*  q\t22\r\nUNSUB 1\r\nUNSUB 22 5\r\n" +
	"PUB a 0\r\n\r\nPUB a.b re.ply 5\r\nhello\r\nHPUB a 0 3\r\nabc\r\n" +
	"HPUB a r 12 15\r\nNATS/1.0\r\n\r\nabc\r\nPUB x 4\r\n\r\n\r\n\r\n"

func TestParse(t *testing.T) {
	out, rest := parseAll([]byte(everyOperation), 100)
	if rest != len(everyOperation) {
		t.Fatalf("read %d of %d bytes:\n%s", rest, len(everyOperation), out)
	}
	for _, want := range []string{
		`1 "" "" "" "" 0 "{\"verbose\":false}" "" "" -1`, `4 "a.*" "" "q" "22" 0 "" "" "" -1`, `5 "" "" "" "22" 5 "" "" "" -1`,
		`6 "a.b" "re.ply" "" "" 0 "" "" "hello" 5`, `7 "a" "" "" "" 0 "" "" "abc" 3`,
		`7 "a" "r" "" "" 0 "" "NATS/1.0\r\n\r\n" "abc" 15`, `6 "x" "" "" "" 0 "" "" "\r\n\r\n" 4`,
	} {
		if !strings.Contains(out, want+"\n") {
			t.Errorf("%s is missing in\n%s", want, out)
		}
	}
}

func TestParseInPieces(t *testing.T) {
	in := []byte(everyOperation)
	want := parseSplit(in, 100)
	for i := range in {
		if got := parseSplit(in, 100, i); got != want {
			t.Fatalf("cut at %d:\n%s\nwant\n%s", i, got, want)
		}
	}
	every := make([]int, len(in))
	for i := range every {
		every[i] = i
	}
	if got := parseSplit(in, 100, every...); got != want {
		t.Fatalf("byte by byte:\n%s", got)
	}
}

func TestParseErrors(t *testing.T) {
	for in, want := range map[string]ProtocolError{
		"GET / HTTP/1.1\r\n":                   ErrUnknown,
		"\x16\x03\x01":                         ErrUnknown,
		"PUBX a 0\r\n":                         ErrUnknown,
		"\r\n":                                 ErrUnknown,
		"PUB a\r\n":                            ErrMalformed,
		"PUB a b c 1\r\n":                      ErrMalformed,
		"PUB a -1\r\n":                         ErrMalformed,
		"PUB a 1x\r\n":                         ErrMalformed,
		"PUB a 1234567890\r\n":                 ErrMalformed,
		"PUB a 101\r\n":                        ErrMaxPayload,
		"PUB a 2\r\nabc":                       ErrUnknown,
		"PUB a 2\r\nab\nx":                     ErrUnknown,
		"HPUB a 5 3\r\n":                       ErrMalformed,
		"HPUB a 5\r\n":                         ErrMalformed,
		"SUB a\r\n":                            ErrMalformed,
		"SUB a b c d\r\n":                      ErrMalformed,
		"UNSUB\r\n":                            ErrMalformed,
		"UNSUB 1 x\r\n":                        ErrMalformed,
		"PUB " + strings.Repeat("a", 4096):     ErrControlLine,
		strings.Repeat(" ", 4097):              ErrControlLine,
		"CONNECT " + strings.Repeat("a", 5000): ErrControlLine,
	} {
		var o Operation
		if _, err := Parse([]byte(in), 100, &o); err != want {
			t.Errorf("%.40q: %v, want %v", in, err, want)
		}
	}
}

func TestParseAllocatesNothing(t *testing.T) {
	in := []byte(everyOperation)
	if n := testing.AllocsPerRun(100, func() {
		var o Operation
		for at := 0; at < len(in); {
			n, err := Parse(in[at:], 100, &o)
			if err != nil {
				t.Fatal(err)
			}
			at += n
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzNATSParser compares what is read in one piece with what is read in two, and with
// a second parser, written for clarity alone.
func FuzzNATSParser(f *testing.F) {
	f.Add([]byte(everyOperation), 7)
	f.Add([]byte("PUB a 2\r\nabc"), 9)
	f.Add([]byte("SUB  a\t1 \r\nPING"), 3)
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		const maxPayload = 64
		whole := parseSplit(in, maxPayload)
		if want := parsePlainly(in, maxPayload); want != whole {
			t.Errorf("%q: read\n%swant\n%s", in, whole, want)
		}
		if len(in) > 0 {
			cut = max(cut, -cut, 0) % len(in)
			if got := parseSplit(in, maxPayload, cut); got != whole {
				t.Errorf("%q cut at %d: read\n%swhole\n%s", in, cut, got, whole)
			}
		}
	})
}

// parsePlainly is parseAll by other means: regular splitting, no views.
func parsePlainly(in []byte, maxPayload int) string {
	var b strings.Builder
	fail := func(err ProtocolError) string {
		fmt.Fprintf(&b, "error %q\n", err)
		return b.String()
	}
	for len(in) > 0 {
		end := bytes.IndexByte(in, '\n')
		long := end > maxControlLine || end < 0 && len(in) > maxControlLine
		if (long || end < 0) && !strings.ContainsRune("CcPpSsUuHhIi+ \t\r", rune(in[0])) {
			return fail(ErrUnknown)
		}
		if long {
			return fail(ErrControlLine)
		}
		if end < 0 {
			return b.String()
		}
		line := strings.TrimSuffix(string(in[:end]), "\r")
		f := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == '\t' })
		in = in[end+1:]
		name := ""
		if len(f) > 0 {
			name = strings.ToUpper(f[0])
			f = f[1:]
		}
		var subject, reply, queue, sid, json string
		var limit, size, header = uint64(0), -1, 0
		ok := true
		number := func(s string) int {
			n := 0
			for _, c := range []byte(s) {
				ok = ok && '0' <= c && c <= '9'
				n = 10*n + int(c-'0')
			}
			ok = ok && len(s) <= 9
			return n
		}
		verbs := map[string]Verb{
			"CONNECT": VerbConnect, "PING": VerbPing, "PONG": VerbPong, "SUB": VerbSub, "UNSUB": VerbUnsub,
			"PUB": VerbPub, "HPUB": VerbHPub, "+OK": VerbIgnored, "INFO": VerbIgnored,
		}
		v, known := verbs[name]
		if !known {
			return fail(ErrUnknown)
		}
		least, most := 0, 1<<20
		switch v {
		case VerbSub, VerbPub:
			least, most = 2, 3
		case VerbHPub:
			least, most = 3, 4
		case VerbUnsub:
			least, most = 1, 2
		}
		if len(f) < least || len(f) > most {
			return fail(ErrMalformed)
		}
		switch v {
		case VerbConnect:
			json = strings.TrimLeft(strings.TrimLeft(line, " \t")[len("CONNECT"):], " \t")
		case VerbSub:
			subject, sid = f[0], f[len(f)-1]
			if len(f) == 3 {
				queue = f[1]
			}
		case VerbUnsub:
			sid = f[0]
			if len(f) == 2 {
				limit = uint64(number(f[1]))
			}
		case VerbPub, VerbHPub:
			subject, size = f[0], number(f[len(f)-1])
			if len(f) == most {
				reply = f[1]
			}
			if v == VerbHPub {
				header = number(f[len(f)-2])
				ok = ok && header <= size
			}
		}
		if !ok {
			return fail(ErrMalformed)
		}
		var block, payload []byte
		if size >= 0 {
			switch {
			case size > maxPayload:
				return fail(ErrMaxPayload)
			case len(in) > size && in[size] != '\r', len(in) > size+1 && in[size+1] != '\n':
				return fail(ErrUnknown)
			case len(in) < size+2:
				return b.String()
			}
			block, payload, in = in[:header], in[header:size], in[size+2:]
		}
		fmt.Fprintf(&b, "%d %q %q %q %q %d %q %q %q %d\n", v, subject, reply, queue, sid, limit, json, block, payload, size)
	}
	return b.String()
}
