package archive

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
)

// state is that of a stream with the sequences 1 to 9.
const state = `{"messages":3,"first_seq":1,"last_seq":9,"consumer_count":0}`

var messages = []Message{
	{Subject: "$KV.a.x", Sequence: 1, Time: time.Unix(0, 1), Header: []byte{}, Payload: []byte("one")},
	{Subject: "$KV.a.y", Sequence: 5, Time: time.Unix(0, 2), Header: []byte("NATS/1.0\r\nKV-Operation: DEL\r\n\r\n"), Payload: []byte{}},
	{Subject: "$KV.a.x", Sequence: 8, Time: time.Unix(0, 3), Header: []byte{}, Payload: bytes.Repeat([]byte("long"), 200_000)},
}

// written returns an archive.
func written(t testing.TB, state string, messages []Message) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, []byte(state), time.Unix(0, 1))
	for i := range messages {
		if err == nil {
			err = w.Write(&messages[i])
		}
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// read returns what an archive has.
func read(b []byte) (all []Message, err error) {
	r, err := NewReader(bytes.NewReader(b), 1<<20)
	if err != nil {
		return nil, err
	}
	if err := r.Consumers(func([]byte) error { return nil }); err != nil {
		return nil, err
	}
	for {
		m, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, m)
	}
}

// compress compresses plain bytes.
func compress(plain []byte) []byte {
	var b bytes.Buffer
	w := s2.NewWriter(&b)
	_, _ = w.Write(plain) // to memory
	_ = w.Close()
	return b.Bytes()
}

func TestWhatWasWrittenIsRead(t *testing.T) {
	got, err := read(written(t, state, messages))
	if err != nil || !reflect.DeepEqual(got, messages) {
		t.Errorf("%v, and %d messages are not the %d that were written", err, len(got), len(messages))
	}
}

// The bytes of the package's page are those of an archive.
func TestTheExampleOfTheDocumentation(t *testing.T) {
	page, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(page), "uncompressed:\n//\n")
	example, _, _ = strings.Cut(example, "\n//\n// #")
	var documented []byte
	for line := range strings.Lines(example) {
		digits, _, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, "//")), "  ")
		for word := range strings.FieldsSeq(digits) {
			if b, err := hex.DecodeString(word); err == nil {
				documented = append(documented, b...)
			}
		}
	}
	b := written(t, "{}", []Message{{Subject: "$KV.a", Sequence: 7, Time: time.Unix(0, 1), Payload: []byte("x")}})
	plain, err := io.ReadAll(s2.NewReader(bytes.NewReader(b)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(plain, documented) {
		t.Errorf("an archive is\n%x, the page has\n%x", plain, documented)
	}
}

// An archive that is cut off anywhere is refused, and so is one with a flipped bit.
func TestEveryByteCounts(t *testing.T) {
	whole := written(t, state, messages[:2])
	for n := range len(whole) {
		if _, err := read(whole[:n]); !errors.Is(err, ErrIncomplete) {
			t.Errorf("of %d bytes %d: %v", len(whole), n, err)
		}
	}
	for i := range len(whole) * 8 {
		b := bytes.Clone(whole)
		b[i/8] ^= 1 << (i % 8)
		switch got, err := read(b); {
		case err == nil && !reflect.DeepEqual(got, messages[:2]):
			t.Errorf("bit %d of byte %d is flipped, and nobody has noticed", i%8, i/8)
		case err != nil && !errors.Is(err, ErrIncomplete) && !errors.Is(err, ErrFormat) && !errors.Is(err, ErrInvalid):
			t.Errorf("bit %d of byte %d is flipped: %v", i%8, i/8, err)
		}
	}
}

func TestHostileArchives(t *testing.T) {
	entry := func(h head, content string) string { return string(h.appendTo(nil)) + content }
	stated := func(s string) string { return magic + entry(head{name: stateName, payload: uint64(len(s))}, s) }
	message := func(seq uint64) string { return entry(head{name: "$KV.a.x", sequence: seq, payload: 1}, "v") }
	end := entry(head{}, "")
	for name, c := range map[string]struct {
		plain string
		want  error
		text  string
	}{
		"tar":                {strings.Repeat("t", 512), ErrFormat, "2.15"},
		"empty":              {"", ErrIncomplete, ""},
		"no state":           {magic + message(1), ErrInvalid, "state.json"},
		"state is no JSON":   {stated("{"), ErrInvalid, "state.json"},
		"state too large":    {magic + entry(head{name: stateName, payload: metaMax + 1}, ""), ErrInvalid, "at most"},
		"too many messages":  {stated(`{"messages":4,"first_seq":1,"last_seq":3}`), ErrInvalid, "cannot have"},
		"last before first":  {stated(`{"messages":1,"first_seq":3,"last_seq":1}`), ErrInvalid, "cannot have"},
		"last overflows":     {stated(`{"first_seq":1,"last_seq":18446744073709551615,"messages":18446744073709551615}`) + end, nil, ""},
		"negative consumers": {stated(`{"consumer_count":-1}`), ErrInvalid, "consumers"},
		"consumer missing":   {stated(`{"consumer_count":1}`) + end, ErrInvalid, "consumer"},
		"out of order":       {stated(state) + message(3) + message(2) + end, ErrInvalid, "sequence 2 follows 3"},
		"twice":              {stated(state) + message(3) + message(3) + end, ErrInvalid, "sequence 3 follows 3"},
		"above the last":     {stated(state) + message(10) + end, ErrInvalid, "1 to 9"},
		"no sequence":        {stated(state) + entry(head{name: "x"}, ""), ErrInvalid, "no sequence"},
		"no end":             {stated(state) + message(3), ErrIncomplete, ""},
		"more than the end":  {stated(state) + end + "x", ErrInvalid, "follows its end"},
		"huge payload":       {stated(state) + entry(head{name: "x", sequence: 1, payload: 1 << 30}, ""), ErrInvalid, "at most 1048576"},
		"payload overflows":  {stated(state) + entry(head{name: "x", sequence: 1, payload: 1<<64 - 1}, ""), ErrInvalid, "payload"},
		"huge name":          {stated(state) + "\xff\xff\xff\x7f\x00\x01\x00\x00", ErrInvalid, "name"},
		"endless number":     {stated(state) + strings.Repeat("\xff", 20), ErrInvalid, "64 bits"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := read(compress([]byte(c.plain)))
			if !errors.Is(err, c.want) || err != nil && !strings.Contains(err.Error(), c.text) {
				t.Errorf("%v, want %v with %q", err, c.want, c.text)
			}
		})
	}
}

// No input makes a reader panic or allocate without bounds, and what it accepts reads the same
// after it was written again.
func FuzzReader(f *testing.F) {
	f.Add([]byte(nil), true)
	f.Add([]byte(magic), true)
	whole := written(f, state, messages[:2])
	plain, err := io.ReadAll(s2.NewReader(bytes.NewReader(whole)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(plain, true)
	f.Add(whole, false)
	f.Fuzz(func(t *testing.T, b []byte, plain bool) {
		if plain {
			b = compress(b)
		}
		got, err := read(b)
		if err != nil {
			return
		}
		again, err := read(written(t, `{"messages":0,"first_seq":1,"last_seq":18446744073709551615}`, got))
		if err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("%v: %v was read as %v", err, got, again)
		}
	})
}
