package lineproto_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"kvd/internal/lineproto"
	"kvd/kv"
)

// commands has every verb with everything that it may carry, in one spelling, and the
// parsed command.
var commands = []struct {
	text string
	want lineproto.Command
}{
	{"HELLO\r\n", lineproto.Command{Verb: lineproto.VerbHello}},
	{"AUTH alice secret\r\n", lineproto.Command{Verb: lineproto.VerbAuth, User: "alice", Password: "secret"}},
	{"AUTH alice \"two words \\\"quoted\\\" \\\\\"\r\n", lineproto.Command{Verb: lineproto.VerbAuth, User: "alice", Password: `two words "quoted" \`}},
	{"AUTH alice a=\"b\r\n", lineproto.Command{Verb: lineproto.VerbAuth, User: "alice", Password: `a="b`}},
	{"AUTH alice \"\"\r\n", lineproto.Command{Verb: lineproto.VerbAuth, User: "alice"}},
	{"PING\r\n", lineproto.Command{Verb: lineproto.VerbPing}},
	{"QUIT\r\n", lineproto.Command{Verb: lineproto.VerbQuit}},
	{"BUCKETS\r\n", lineproto.Command{Verb: lineproto.VerbBuckets}},
	{"BUCKETS status=yes\r\n", lineproto.Command{Verb: lineproto.VerbBuckets, Status: true}},
	{"ADD my-kv\r\n", lineproto.Command{Verb: lineproto.VerbAdd, Bucket: "my-kv"}},
	{"ADD my-kv history=5 ttl=30s\r\n", lineproto.Command{Verb: lineproto.VerbAdd, Bucket: "my-kv", Options: "history=5 ttl=30s"}},
	{"ADD my-kv description=\"a b\" 15\r\n{\"metadata\":{}}\r\n", lineproto.Command{Verb: lineproto.VerbAdd, Bucket: "my-kv", Options: `description="a b"`, Value: []byte(`{"metadata":{}}`)}},
	{"ADD my-kv 2\r\n{}\r\n", lineproto.Command{Verb: lineproto.VerbAdd, Bucket: "my-kv", Value: []byte(`{}`)}},
	{"EDIT my-kv history=3\r\n", lineproto.Command{Verb: lineproto.VerbEdit, Bucket: "my-kv", Options: "history=3"}},
	{"INFO my-kv id=3\r\n", lineproto.Command{Verb: lineproto.VerbInfo, Bucket: "my-kv", BucketID: 3}},
	{"RM my-kv\r\n", lineproto.Command{Verb: lineproto.VerbRemove, Bucket: "my-kv"}},
	{"PUT my-kv Key1 6\r\nValue1\r\n", lineproto.Command{Verb: lineproto.VerbPut, Bucket: "my-kv", Key: "Key1", Value: []byte("Value1")}},
	{"PUT my-kv Key1 ttl=30s id=18446744073709551615 0\r\n\r\n", lineproto.Command{Verb: lineproto.VerbPut, Bucket: "my-kv", Key: "Key1", TTL: 30 * time.Second, BucketID: 1<<64 - 1, Value: []byte{}}},
	{"PUT b a=b/c 4\r\n\r\n\x00\xff\r\n", lineproto.Command{Verb: lineproto.VerbPut, Bucket: "b", Key: "a=b/c", Value: []byte("\r\n\x00\xff")}},
	{"CREATE b k 1\r\nx\r\n", lineproto.Command{Verb: lineproto.VerbCreate, Bucket: "b", Key: "k", Value: []byte("x")}},
	{"UPDATE b k 0 1\r\nx\r\n", lineproto.Command{Verb: lineproto.VerbUpdate, Bucket: "b", Key: "k", HasRevision: true, Value: []byte("x")}},
	{"UPDATE b k 7 ttl=1m0s 1\r\nx\r\n", lineproto.Command{Verb: lineproto.VerbUpdate, Bucket: "b", Key: "k", HasRevision: true, Revision: 7, TTL: time.Minute, Value: []byte("x")}},
	{"TOUCH b k ttl=1h0m0s\r\n", lineproto.Command{Verb: lineproto.VerbTouch, Bucket: "b", Key: "k", TTL: time.Hour}},
	{"GET b k\r\n", lineproto.Command{Verb: lineproto.VerbGet, Bucket: "b", Key: "k"}},
	{"GET b k rev=1\r\n", lineproto.Command{Verb: lineproto.VerbGet, Bucket: "b", Key: "k", HasRevision: true, Revision: 1}},
	{"DEL b k rev=0 id=1\r\n", lineproto.Command{Verb: lineproto.VerbDelete, Bucket: "b", Key: "k", HasRevision: true, BucketID: 1}},
	{"PURGE b k ttl=1s rev=2\r\n", lineproto.Command{Verb: lineproto.VerbPurge, Bucket: "b", Key: "k", HasRevision: true, Revision: 2, TTL: time.Second}},
	{"GET b k rev=1 stale=yes id=2\r\n", lineproto.Command{Verb: lineproto.VerbGet, Bucket: "b", Key: "k", HasRevision: true, Revision: 1, Stale: true, BucketID: 2}},
	{"HISTORY b k stale=yes\r\n", lineproto.Command{Verb: lineproto.VerbHistory, Bucket: "b", Key: "k", Stale: true}},
	{"KEYS b > stale=yes\r\n", lineproto.Command{Verb: lineproto.VerbKeys, Bucket: "b", Patterns: ">", Stale: true}},
	{"COUNT b > stale=yes\r\n", lineproto.Command{Verb: lineproto.VerbCount, Bucket: "b", Patterns: ">", Stale: true}},
	{"WATCH 1 b > stale=yes\r\n", lineproto.Command{Verb: lineproto.VerbWatch, Watch: 1, Bucket: "b", Patterns: ">", Stale: true}},
	{"LOST b\r\n", lineproto.Command{Verb: lineproto.VerbLost, Bucket: "b"}},
	{"BACKUP *\r\n", lineproto.Command{Verb: lineproto.VerbBackup, Buckets: "*"}},
	{"BACKUP a,b rate=7\r\n", lineproto.Command{Verb: lineproto.VerbBackup, Buckets: "a,b", Rate: 7}},
	{"ACCEPT b id=3\r\n", lineproto.Command{Verb: lineproto.VerbAccept, Bucket: "b", BucketID: 3}},
	{"HISTORY b k\r\n", lineproto.Command{Verb: lineproto.VerbHistory, Bucket: "b", Key: "k"}},
	{"KEYS b a.*,b.>\r\n", lineproto.Command{Verb: lineproto.VerbKeys, Bucket: "b", Patterns: "a.*,b.>"}},
	{"GET b user:1,\u043a\u043b\u044e\u0447\\\r\n", lineproto.Command{Verb: lineproto.VerbGet, Bucket: "b", Key: "user:1,ключ\\"}},
	{`GET b "\"a\\" rev=1` + "\r\n", lineproto.Command{Verb: lineproto.VerbGet, Bucket: "b", Key: `"a\`, HasRevision: true, Revision: 1}},
	{`KEYS b "a,b.*",c,"\"d.>"` + "\r\n", lineproto.Command{Verb: lineproto.VerbKeys, Bucket: "b", Patterns: `"a,b.*",c,"\"d.>"`}},
	{"MGET b stale=yes id=3 3\r\nk l\r\n", lineproto.Command{Verb: lineproto.VerbGetMany, Bucket: "b", Stale: true, BucketID: 3, Value: []byte("k l")}},
	{"RANGE b >\r\n", lineproto.Command{Verb: lineproto.VerbRange, Bucket: "b", Patterns: ">"}},
	{"RANGE b a.*,b meta=yes from=\"a b\" to=b after=\"\\\"\" order=desc limit=7 bytes=9 markers=yes changed=4 id=3 3\r\nc.*\r\n", lineproto.Command{
		Verb: lineproto.VerbRange, Bucket: "b", Patterns: "a.*,b", MetaOnly: true, BucketID: 3, Value: []byte("c.*"),
		Range: kv.RangeOptions{From: "a b", To: "b", After: `"`, Reverse: true, Limit: 7, MaxBytes: 9, Markers: true, ChangedAfter: 4}}},
	{"CHILDREN b \"\" by=./ limit=5\r\n", lineproto.Command{Verb: lineproto.VerbChildren, Bucket: "b", Separators: "./", Range: kv.RangeOptions{Limit: 5}}},
	{"CHILDREN b a.\r\n", lineproto.Command{Verb: lineproto.VerbChildren, Bucket: "b", Prefix: "a."}},
	{"COUNT b >\r\n", lineproto.Command{Verb: lineproto.VerbCount, Bucket: "b", Patterns: ">"}},
	{"WATCH 7 b > mode=history from=2 deletes=no meta=yes id=3\r\n", lineproto.Command{
		Verb: lineproto.VerbWatch, Watch: 7, Bucket: "b", Patterns: ">", Mode: lineproto.WatchHistory,
		HasRevision: true, Revision: 2, IgnoreDeletes: true, MetaOnly: true, BucketID: 3}},
	{"WATCH 0 b a=b mode=updates\r\n", lineproto.Command{Verb: lineproto.VerbWatch, Bucket: "b", Patterns: "a=b", Mode: lineproto.WatchUpdates}},
	{"UNWATCH 7\r\n", lineproto.Command{Verb: lineproto.VerbUnwatch, Watch: 7}},
	{"RECLAIM b\r\n", lineproto.Command{Verb: lineproto.VerbReclaim, Bucket: "b"}},
	{"PURGEDELETES b\r\n", lineproto.Command{Verb: lineproto.VerbPurgeDeletes, Bucket: "b"}},
	{"PURGEDELETES b older=1h0m0s\r\n", lineproto.Command{Verb: lineproto.VerbPurgeDeletes, Bucket: "b", OlderThan: time.Hour}},
	{"TXN 1 2 3\r\n", lineproto.Command{Verb: lineproto.VerbTxn, Txn: lineproto.TxnLines{Conditions: 1, Then: 2, Else: 3}}},
	{"IF b k is=absent\r\n", lineproto.Command{Verb: lineproto.VerbIf, Bucket: "b", Key: "k", Is: kv.Absent}},
	{"IF b k is=exists rev=0 not-rev=7 id=3\r\n", lineproto.Command{Verb: lineproto.VerbIf, Bucket: "b", Key: "k", Is: kv.Exists, HasRevision: true, HasNotRevision: true, NotRevision: 7, BucketID: 3}},
	{"IF b a=b is=value 1\r\nv\r\n", lineproto.Command{Verb: lineproto.VerbIf, Bucket: "b", Key: "a=b", Is: kv.ValueIs, Value: []byte("v")}},
	{"IF b k is=not-value 0\r\n\r\n", lineproto.Command{Verb: lineproto.VerbIf, Bucket: "b", Key: "k", Is: kv.ValueIsNot, Value: []byte{}}},
	{"IFNEWEST b 7 id=3\r\n", lineproto.Command{Verb: lineproto.VerbIfNewest, Bucket: "b", HasRevision: true, Revision: 7, BucketID: 3}},
	{"PURGEDELETES b older=0s\r\n", lineproto.Command{Verb: lineproto.VerbPurgeDeletes, Bucket: "b", OlderThan: -1}},
}

// meaning returns a command without the fields about its parsing.
func meaning(c lineproto.Command) lineproto.Command {
	c.HeaderSize, c.Length = 0, 0
	return c
}

func TestParseCommand(t *testing.T) {
	for _, tt := range commands {
		t.Run(tt.want.Verb.String(), func(t *testing.T) {
			var got lineproto.Command
			n, err := lineproto.ParseCommand([]byte(tt.text+"PING\r\n"), &got)
			if err != nil || n != len(tt.text) {
				t.Fatalf("%q: size %d of %d, error %v", tt.text, n, len(tt.text), err)
			}
			if !reflect.DeepEqual(meaning(got), tt.want) {
				t.Errorf("%q is\n%+v, want\n%+v", tt.text, meaning(got), tt.want)
			}
		})
	}
}

func TestAppendCommand(t *testing.T) {
	for _, tt := range commands {
		got, err := lineproto.AppendCommand([]byte("before"), &tt.want)
		if err != nil || string(got) != "before"+tt.text {
			t.Errorf("%+v is\n%q, want\n%q, error %v", tt.want, got, tt.text, err)
		}
	}
}

// TestEveryPrefixOfACommand cuts each command at each byte: the prefix is incomplete, and
// the size that the parser asks for is never above the command's size.
func TestEveryPrefixOfACommand(t *testing.T) {
	for _, tt := range commands {
		lineSize := strings.Index(tt.text, "\r\n") + 2
		for cut := range len(tt.text) {
			var c lineproto.Command
			need, err := lineproto.ParseCommand([]byte(tt.text[:cut]), &c)
			if err != lineproto.ErrIncomplete || need <= cut || need > len(tt.text) {
				t.Fatalf("%q needs %d bytes, error %v", tt.text[:cut], need, err)
			}
			if (c.Verb != 0) != (cut >= lineSize) {
				t.Fatalf("%q has verb %d", tt.text[:cut], c.Verb)
			}
			if c.Verb != 0 && need != len(tt.text) {
				t.Fatalf("%q needs %d bytes, has a complete line and %d", tt.text[:cut], need, len(tt.text))
			}
		}
	}
}

func TestOptionsComeInAnyOrder(t *testing.T) {
	var c lineproto.Command
	if _, err := lineproto.ParseCommand([]byte("WATCH 1 b > id=3 meta=yes deletes=no from=2 mode=updates\r\n"), &c); err != nil || c.Refused != nil {
		t.Fatal(err, c.Refused)
	}
	if c.BucketID != 3 || !c.MetaOnly || !c.IgnoreDeletes || c.Revision != 2 || c.Mode != lineproto.WatchUpdates {
		t.Errorf("%+v", c)
	}
}

func TestLinesThatDoNotParse(t *testing.T) {
	long := strings.Repeat("k", lineproto.MaxLine)
	for _, tt := range []struct{ text, reason string }{
		{"\r\n", "blank"},
		{" PING\r\n", "blank"},
		{"PING \r\n", "blank"},
		{"PING\n", "LF alone"},
		{"PING\r ", "CR alone"},
		{"PING\x00", "0x00"},
		{"PING\t", "0x09"},
		{"PING\x7f", "0x7f"},
		{"\x16\x03\x01", "0x16"},
		{"ping\r\n", "unknown verb"},
		{"PINGG\r\n", "unknown verb"},
		{"POST /my-kv HTTP/1.1\r\n", "unknown verb"},
		{"GET / HTTP/1.1\r\n", "BUCKET cannot be"},
		{"GET /my-kv HTTP/1.1\r\n", "BUCKET cannot be"},
		{"PUT /my-kv HTTP/1.1\r\n", "BUCKET cannot be"},
		{"GET b\xff k\r\n", "BUCKET cannot be"},
		{"GET b  k\r\n", "blank"},
		{"GET b k \r\n", "blank"},
		{"GET b\r\n", "KEY is missing"},
		{"GET b k 5\r\n", "neither an option"},
		{"GET b k more\r\n", "neither an option"},
		{"GET b k =1\r\n", "neither an option"},
		{"PUT b k\r\n", "length is missing"},
		{"PUT b k ttl=1s\r\n", "length is missing"},
		{"PUT b k 1 ttl=1s\r\nx\r\n", "neither an option"},
		{"PUT b k +1\r\nx\r\n", "length"},
		{"PUT b k -1\r\nx\r\n", "length"},
		{"PUT b k 01\r\nx\r\n", "length"},
		{"PUT b k 1e1\r\nx\r\n", "length"},
		{"PUT b k 0x1\r\nx\r\n", "length"},
		{"PUT b k 100000000\r\n", "length"},
		{"PUT b k 18446744073709551617\r\n", "length"},
		{"PUT b k 99999999999999999999999999999999\r\n", "length"},
		{"PUT b k 1\r\nxy", "CRLF is missing"},
		{"PUT b k 1\r\nx\n", "CRLF is missing"},
		{"PUT b k 1\r\nx\rP", "CRLF is missing"},
		{"PUT b k 0\r\nx", "CRLF is missing"},
		{"UPDATE b k x 1\r\nx\r\n", "REVISION cannot be"},
		{"UPDATE b k -1 1\r\nx\r\n", "REVISION cannot be"},
		{"UPDATE b k 18446744073709551616 1\r\nx\r\n", "REVISION cannot be"},
		{"WATCH x b >\r\n", "WATCH cannot be"},
		{"WATCH 1 b\r\n", "PATTERNS is missing"},
		{"AUTH alice\r\n", "PASSWORD is missing"},
		{"AUTH alice \"open\r\n", "closing quote"},
		{"AUTH alice \"a\"b\r\n", "blank is due"},
		{"AUTH alice \"\\x\"\r\n", "PASSWORD cannot be"},
		{"AUTH alice \"\xff\"\r\n", "PASSWORD cannot be"},
		{"AUTH alice \xff\r\n", "PASSWORD cannot be"},
		{"ADD b description=\"open\r\n", "closing quote"},
		{"ADD b description=\"open\\\"\r\n", "closing quote"},
		{"ADD b 1 2\r\n", "neither an option"},
		{"GET b " + long, "at most 4096 bytes"},
	} {
		t.Run(tt.text[:min(len(tt.text), 30)], func(t *testing.T) {
			var c lineproto.Command
			n, err := lineproto.ParseCommand([]byte(tt.text), &c)
			var syntax *lineproto.SyntaxError
			if !errors.As(err, &syntax) || !errors.Is(err, lineproto.ErrSyntax) || n != 0 {
				t.Fatalf("size %d, error %v", n, err)
			}
			if !strings.Contains(syntax.Reason, tt.reason) {
				t.Errorf("error is %v, want one about %q", err, tt.reason)
			}
			for cut := range len(tt.text) {
				_, err := lineproto.ParseCommand([]byte(tt.text[:cut]), &c)
				if err != lineproto.ErrIncomplete && (err == nil || err.Error() != syntax.Error()) {
					t.Fatalf("%q: %v; whole: %v", tt.text[:cut], err, syntax)
				}
			}
		})
	}
}

func TestALineOfMaxLineParses(t *testing.T) {
	line := "GET b " + strings.Repeat("k", lineproto.MaxLine-len("GET b \r\n")) + "\r\n"
	var c lineproto.Command
	if n, err := lineproto.ParseCommand([]byte(line), &c); err != nil || n != lineproto.MaxLine {
		t.Errorf("size %d, error %v", n, err)
	}
	line = "GET b k" + line[len("GET b "):]
	if _, err := lineproto.ParseCommand([]byte(line), &c); !errors.Is(err, lineproto.ErrSyntax) {
		t.Errorf("one byte more: error %v", err)
	}
}

// TestRefusedCommands checks commands that parse and cannot be carried out.
func TestRefusedCommands(t *testing.T) {
	for _, tt := range []struct {
		text string
		want error
	}{
		{"GET b k ttl=1s\r\n", kv.ErrInvalidOption},
		{"GET b k color=red\r\n", kv.ErrInvalidOption},
		{"GET b k rev=1 rev=1\r\n", kv.ErrInvalidOption},
		{"GET b k rev=01\r\n", kv.ErrInvalidOption},
		{"GET b k rev=\r\n", kv.ErrInvalidOption},
		{"GET b k id=0\r\n", kv.ErrInvalidOption},
		{"TOUCH b k ttl=0s\r\n", kv.ErrInvalidOption},
		{"TOUCH b k ttl=-1s\r\n", kv.ErrInvalidOption},
		{"TOUCH b k ttl=30\r\n", kv.ErrInvalidOption},
		{"TOUCH b k ttl=\"30s\"\r\n", kv.ErrInvalidOption},
		{"PURGEDELETES b older=-1s\r\n", kv.ErrInvalidOption},
		{"WATCH 1 b > mode=all\r\n", kv.ErrInvalidOption},
		{"WATCH 1 b > from=0\r\n", kv.ErrInvalidOption},
		{"WATCH 1 b > deletes=maybe\r\n", kv.ErrInvalidOption},
		{"BUCKETS status=1\r\n", kv.ErrInvalidOption},
		{"PUT b k ttl=x 3\r\nabc\r\n", kv.ErrInvalidOption},
		{fmt.Sprintf("PUT b k %d\r\n", kv.MaxValueSizeLimit+1), kv.ErrValueTooLarge},
		{"PUT b k 99999999\r\n", kv.ErrValueTooLarge},
		{fmt.Sprintf("ADD b %d\r\n", lineproto.MaxConfigPayload+1), kv.ErrInvalidConfig},
	} {
		t.Run(tt.text, func(t *testing.T) {
			var c lineproto.Command
			n, err := lineproto.ParseCommand([]byte(tt.text), &c)
			if err != nil && err != lineproto.ErrIncomplete {
				t.Fatal(err)
			}
			if !errors.Is(c.Refused, tt.want) || c.Verb == 0 {
				t.Errorf("refused with %v, want %v", c.Refused, tt.want)
			}
			if want := max(len(tt.text), c.HeaderSize+c.Length+2); err == lineproto.ErrIncomplete && n != want {
				t.Errorf("its end is at %d, want %d", n, want)
			}
		})
	}
}

func TestCommandsThatCannotBeSent(t *testing.T) {
	long := strings.Repeat("k", lineproto.MaxLine)
	for _, tt := range []struct {
		name string
		c    lineproto.Command
		want error
	}{
		{"no verb", lineproto.Command{}, lineproto.ErrSyntax},
		{"unknown verb", lineproto.Command{Verb: 99}, lineproto.ErrSyntax},
		{"empty key", lineproto.Command{Verb: lineproto.VerbGet, Bucket: "b"}, lineproto.ErrSyntax},
		{"key with a blank", lineproto.Command{Verb: lineproto.VerbGet, Bucket: "b", Key: "a b"}, lineproto.ErrSyntax},
		{"key with a line", lineproto.Command{Verb: lineproto.VerbGet, Bucket: "b", Key: "a\r\nRM b"}, lineproto.ErrSyntax},
		{"key of two lines' length", lineproto.Command{Verb: lineproto.VerbGet, Bucket: "b", Key: long}, lineproto.ErrSyntax},
		{"empty bucket", lineproto.Command{Verb: lineproto.VerbGet, Key: "k"}, kv.ErrInvalidBucketName},
		{"bucket with a line", lineproto.Command{Verb: lineproto.VerbInfo, Bucket: "b\r\n"}, kv.ErrInvalidBucketName},
		{"password of bytes", lineproto.Command{Verb: lineproto.VerbAuth, User: "u", Password: "\xff"}, lineproto.ErrSyntax},
		{"no patterns", lineproto.Command{Verb: lineproto.VerbKeys, Bucket: "b"}, lineproto.ErrSyntax},
		{"value over the limit", lineproto.Command{Verb: lineproto.VerbPut, Bucket: "b", Key: "k", Value: make([]byte, kv.MaxValueSizeLimit+1)}, kv.ErrValueTooLarge},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := lineproto.AppendCommand([]byte("before"), &tt.c)
			if !errors.Is(err, tt.want) || string(got) != "before" {
				t.Errorf("%.40q, error %v, want %v", got, err, tt.want)
			}
		})
	}
}

func TestPatterns(t *testing.T) {
	for _, patterns := range [][]string{nil, {"a"}, {"a.*", "b.>"}, {"a", "a"}} {
		if got := lineproto.SplitPatterns(lineproto.JoinPatterns(patterns)); !reflect.DeepEqual(got, patterns) {
			t.Errorf("%q became %q", patterns, got)
		}
	}
}

func TestHotCommandsDoNotAllocate(t *testing.T) {
	var c lineproto.Command
	var dst []byte
	for _, text := range []string{
		"PUT my-kv service.eu.web.1 id=3 6\r\nValue1\r\n", "GET my-kv service.eu.web.1 id=3\r\n",
		"CREATE my-kv k 1\r\nx\r\n", "UPDATE my-kv k 7 1\r\nx\r\n", "DEL my-kv k rev=3\r\n", "TOUCH my-kv k ttl=30s\r\n",
	} {
		buf := []byte(text)
		if n := testing.AllocsPerRun(100, func() {
			if _, err := lineproto.ParseCommand(buf, &c); err != nil || c.Refused != nil {
				t.Fatal(err, c.Refused)
			}
		}); n != 0 {
			t.Errorf("parsing %q allocates %v times", text, n)
		}
		dst, _ = lineproto.AppendCommand(dst[:0], &c)
		if n := testing.AllocsPerRun(100, func() { dst, _ = lineproto.AppendCommand(dst[:0], &c) }); n > 1 || n == 1 && c.TTL == 0 {
			t.Errorf("writing %q allocates %v times", text, n)
		}
	}
}
