package records_test

import (
	"bytes"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"kvd/kv"
	"kvd/kv/records"
)

// example returns the lines of the package's documentation.
func example(t testing.TB) (lines [][]byte) {
	t.Helper()
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(doc)) {
		if text, ok := strings.CutPrefix(line, "//\t"); ok && strings.HasPrefix(text, "{") {
			lines = append(lines, []byte(text))
		}
	}
	return lines
}

func TestTheExampleOfTheDocumentation(t *testing.T) {
	at := time.Date(2026, 11, 22, 18, 0, 0, 123456789, time.UTC)
	second := func(n int) time.Time { return at.Truncate(time.Second).Add(time.Duration(n) * time.Second) }
	want := []kv.Entry{
		{Key: "Key1", Revision: 1, Operation: kv.Put, Created: at, Value: []byte("Value1")},
		{Key: "Key1", Revision: 2, Operation: kv.Put, Created: second(1), Deadline: second(3600), Value: []byte("\x00\xff")},
		{Key: "Key1", Revision: 3, Operation: kv.Delete, Reason: kv.ReasonClient, Created: second(2)},
		{Bucket: "my-kv", Key: "Key2", Revision: 9, Operation: kv.Purge, Reason: kv.ReasonExpiry, Created: second(3), Deadline: second(903)},
	}
	lines := example(t)
	if len(lines) != len(want) {
		t.Fatalf("%d lines, want %d", len(lines), len(want))
	}
	for n, line := range lines {
		got, err := records.Decode(line)
		if err != nil || !reflect.DeepEqual(got, want[n]) {
			t.Errorf("%s is %+v, %v, want %+v", line, got, err, want[n])
		}
		if text, err := records.Append(nil, &want[n]); err != nil || !bytes.Equal(text, line) {
			t.Errorf("%+v is %s, %v, want %s", want[n], text, err, line)
		}
	}
}

// A record that the form can hold comes back as it was.
func TestARecordComesBack(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	for name, e := range map[string]kv.Entry{
		"an empty value":       {Key: "k", Revision: 1, Operation: kv.Put, Created: at, Value: []byte{}},
		"controls":             {Key: "k", Revision: 1, Operation: kv.Put, Created: at, Value: []byte("\x00\x01\x02\x03\x04\x05")},
		"quotes":               {Key: `"k\<&>`, Revision: 1, Operation: kv.Put, Created: at, Value: []byte(`<"\">&`)},
		"bytes":                {Key: "ключ", Revision: 1<<64 - 1, Operation: kv.Put, Created: at, Value: []byte("\xff\xfe")},
		"a replacement":        {Key: "k", Revision: 1, Operation: kv.Put, Created: at, Value: []byte("\ufffd\u2028")},
		"headers":              {Key: "k", Revision: 1, Operation: kv.Put, Created: at, Value: []byte("v"), Headers: bytes.Repeat([]byte{0}, kv.MaxHeadersSize)},
		"a purge of a client":  {Key: "k", Revision: 1, Operation: kv.Purge, Reason: kv.ReasonClient, Created: at, Deadline: at.Add(1)},
		"headers of a marker":  {Key: "k", Revision: 1, Operation: kv.Delete, Reason: kv.ReasonClient, Created: at, Headers: []byte("h")},
		"the longest key":      {Key: strings.Repeat("\x01", kv.MaxKeySize), Revision: 1, Operation: kv.Put, Created: at, Value: []byte("v")},
		"a large text":         {Key: "k", Revision: 1, Operation: kv.Put, Created: at, Value: bytes.Repeat([]byte("text "), 10_000)},
		"a large list of ctrl": {Key: "k", Revision: 1, Operation: kv.Put, Created: at, Value: bytes.Repeat([]byte("\n"), 10_000)},
	} {
		t.Run(name, func(t *testing.T) {
			line, err := records.Append([]byte("before"), &e)
			if err != nil || !bytes.HasPrefix(line, []byte("before{")) || bytes.Count(line, []byte("\n")) != 1 {
				t.Fatalf("%.200q, %v", line, err)
			}
			got, err := records.Decode(line[len("before"):])
			if err != nil || !reflect.DeepEqual(got, e) {
				t.Errorf("%+v, %v, want %+v", got, err, e)
			}
			if most := len(e.Value)*4/3 + len(e.Headers)*4/3 + 6*len(e.Key) + 250; len(line) > most {
				t.Errorf("%d bytes, at most %d are needed", len(line), most)
			}
		})
	}
}

func TestTheLongestLine(t *testing.T) {
	e := kv.Entry{
		Bucket: strings.Repeat("b", kv.MaxBucketNameSize), Key: strings.Repeat("\x01", kv.MaxKeySize), Revision: 1<<64 - 1, Operation: kv.Put,
		Created: time.Now(), Deadline: time.Now(), Value: bytes.Repeat([]byte{0xff}, kv.MaxValueSizeLimit), Headers: make([]byte, kv.MaxHeadersSize),
	}
	line, err := records.Append(nil, &e)
	if err != nil || len(line) > records.LineMax {
		t.Fatalf("%d bytes of %d, %v", len(line), records.LineMax, err)
	}
	if _, err := records.Decode(line); err != nil {
		t.Error(err)
	}
}

func TestLinesThatAreNoRecord(t *testing.T) {
	const rest = `"key":"k","rev":1,"created":"2026-01-01T00:00:00Z"`
	for _, line := range []string{
		"", "{", "null x", "[]", `"text"`, `{` + rest + `}`, `{` + rest + `,"op":"write"}`, `{` + rest + `,"op":"put"}`,
		`{` + rest + `,"op":"put","value":"v","value64":"dg=="}`, `{` + rest + `,"op":"del","value":""}`, `{` + rest + `,"op":"put","value":"v"}{}`,
		`{` + rest + `,"op":"put","value":"v","colour":"red"}`, `{` + rest + `,"op":"put","value64":"d"}`, `{` + rest + `,"op":"put","value":"` + "\xff" + `"}`,
		`{"key":"k","rev":-1,"op":"put","created":"2026-01-01T00:00:00Z","value":""}`, `{"key":"k","rev":1,"op":"put","created":"yesterday","value":""}`,
	} {
		if e, err := records.Decode([]byte(line)); !errors.Is(err, kv.ErrInvalidRecord) {
			t.Errorf("%s is %+v, %v", line, e, err)
		}
	}
	for name, e := range map[string]kv.Entry{
		"no operation":         {Key: "k", Revision: 1, Created: time.Now()},
		"a key of bytes":       {Key: "\xff", Revision: 1, Created: time.Now(), Operation: kv.Put},
		"a value of a marker":  {Key: "k", Revision: 1, Created: time.Now(), Operation: kv.Delete, Value: []byte("v")},
		"a year beyond RFC":    {Key: "k", Revision: 1, Created: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), Operation: kv.Put},
		"headers too large":    {Key: "k", Revision: 1, Created: time.Now(), Operation: kv.Put, Headers: make([]byte, kv.MaxHeadersSize+1)},
		"a value beyond every": {Key: "k", Revision: 1, Created: time.Now(), Operation: kv.Put, Value: make([]byte, kv.MaxValueSizeLimit+1)},
	} {
		if line, err := records.Append([]byte("before"), &e); !errors.Is(err, kv.ErrInvalidRecord) || string(line) != "before" {
			t.Errorf("%s: %.100s, %v", name, line, err)
		}
	}
}

func TestCut(t *testing.T) {
	line, rest := records.Cut([]byte("one\ntwo"))
	if string(line) != "one" || string(rest) != "two" {
		t.Errorf("%q, %q", line, rest)
	}
	if line, rest = records.Cut(rest); string(line) != "two" || len(rest) != 0 {
		t.Errorf("%q, %q", line, rest)
	}
}

// What decodes encodes again, to a line that decodes to the same record.
func FuzzDecode(f *testing.F) {
	for _, line := range example(f) {
		f.Add(line)
	}
	f.Add([]byte(`{"key":"k","rev":1,"op":"put","created":"0000-01-01T00:00:00+23:59","value":"\ud800"}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := records.Decode(line)
		if err != nil {
			return
		}
		again, err := records.Append(nil, &e)
		if err != nil {
			return // larger than the rules allow
		}
		if back, err := records.Decode(again); err != nil || !reflect.DeepEqual(back, e) {
			t.Fatalf("%q is %+v, and comes back as %+v, %v", line, e, back, err)
		}
	})
}

func Benchmark(b *testing.B) {
	e := kv.Entry{Key: "some.key.of.24.bytes.abc", Revision: 1 << 30, Operation: kv.Put, Created: time.Unix(1_700_000_000, 123), Value: bytes.Repeat([]byte("v"), 128)}
	line, err := records.Append(nil, &e)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("Append", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if line, err = records.Append(line[:0], &e); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err = records.Decode(line); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// The error of a line is short, whatever names the line has.
func TestErrorsAreShort(t *testing.T) {
	_, err := records.Decode([]byte(`{"` + strings.Repeat("x", 1<<20) + `":1}`))
	if !errors.Is(err, kv.ErrInvalidRecord) || len(err.Error()) > 400 {
		t.Errorf("an error of %d bytes: %.100v", len(err.Error()), err)
	}
}
