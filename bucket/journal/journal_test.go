package journal

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"kvd/bucket/manifest"
	"kvd/internal/golden"
	"kvd/kv"
)

// fullConfig has every field that a bucket can be stored with.
var fullConfig = kv.Config{
	Bucket: "full", Description: "every field", History: 7, TTL: time.Hour, MarkerTTL: time.Minute,
	MaxValueSize: 1234, MaxBytes: 56789, Storage: kv.MemoryStorage, Compression: true,
	Sync: kv.SyncInterval, SyncInterval: 50 * time.Millisecond, Metadata: map[string]string{"a": "1", "b": "2"},
}

var sampleOperations = []Operation{
	&Create{Bucket: 1, Created: 1_700_000_000_000_000_000, Life: manifest.LifeMax, Config: kv.Config{Bucket: "small"}.WithDefaults()},
	&Create{Bucket: 2, Created: 3, Life: 1, Config: fullConfig},
	&Edit{Bucket: 1, Cut: manifest.Cut{UpTo: 9, Keep: 2}, Config: kv.Config{Bucket: "small", History: 2}.WithDefaults()},
	&Edit{Bucket: 1, Config: kv.Config{Bucket: "small", History: 3}.WithDefaults()},
	&Delete{Bucket: 1<<64 - 1},
	&PurgeDeletes{Bucket: 2, Rule: manifest.PurgeDeletes{UpTo: 17, MarkersUpTo: 13}},
	&Expire{Bucket: 2, ExpiredUpTo: 18},
	&ExpireMarkers{Bucket: 2, MarkersExpiredUpTo: 1<<63 - 1},
	&Accept{Bucket: 2, UpTo: 1 << 40},
}

// issues are operations that came after the golden file of sampleOperations.
var issues = []Operation{&Issue{Bucket: 4, UpTo: 1 << 20}, &Issue{Bucket: 1<<64 - 1, UpTo: 1<<64 - 1}}

// imports are operations that came after the golden files of those above.
var imports = []Operation{
	&Create{Bucket: 5, Created: 7, Life: 9, Config: fullConfig, Hidden: true},
	&Reveal{Bucket: 5, Last: 1<<62 - 1, Next: 1 << 62},
	&Reveal{Bucket: 1<<64 - 1, Next: 1},
}

func encodeOperations(ops ...Operation) []byte {
	var b []byte
	for _, op := range ops {
		b = Append(b, op)
	}
	return b
}

func decodeOperations(t *testing.T, b []byte) []Operation {
	t.Helper()
	var ops []Operation
	for len(b) > 0 {
		kind, body, rest, err := Next(b)
		if err != nil {
			t.Fatal(err)
		}
		op, err := Decode(kind, body)
		if err != nil {
			t.Fatal(err)
		}
		ops, b = append(ops, op), rest
	}
	return ops
}

func TestOperationsComeBackAsTheyWere(t *testing.T) {
	for _, ops := range [][]Operation{sampleOperations, {
		&Expire{Bucket: 3, ExpiredUpTo: 18, UnmarkedUpTo: 17},
		&ExpireMarkers{Bucket: 3, MarkersExpiredUpTo: 5, UnmarkedUpTo: 4},
	}, issues, imports} {
		if got := decodeOperations(t, encodeOperations(ops...)); !reflect.DeepEqual(got, ops) {
			t.Errorf("got %+v, want %+v", got, ops)
		}
	}
	golden.Compare(t, "operations", encodeOperations(sampleOperations...))
	golden.Compare(t, "issue", encodeOperations(issues...))
	golden.Compare(t, "import", encodeOperations(imports...))
}

// The hex in the package documentation is a payload.
func TestThePayloadOfTheDocumentation(t *testing.T) {
	b := encodeOperations(&Expire{Bucket: 1, ExpiredUpTo: 3}, &Delete{Bucket: 2})
	source, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(string(source)), " ")
	for _, line := range strings.Split(strings.TrimSpace(hex.Dump(b)), "\n") {
		words := strings.Join(strings.Fields(line[4:strings.Index(line, "|")]), " ")
		if !strings.Contains(text, words) {
			t.Errorf("the documentation lacks %s", words)
		}
	}
}

func TestRecordsAreAnItem(t *testing.T) {
	b, head := BeginRecords([]byte("before.."))
	b = EndItem(append(b, "records"...), head)
	kind, body, rest, err := Next(b[head:])
	if err != nil || kind != Records || string(body) != "records" || len(rest) != 0 || len(b)%8 != 0 {
		t.Errorf("item of kind %d, %q, %d bytes left, error %v", kind, body, len(rest), err)
	}
}

// An item has its length, so any cut shows.
func TestACutOperationIsAnError(t *testing.T) {
	for _, op := range sampleOperations {
		whole := Append(nil, op)
		for n := range whole {
			if kind, body, rest, err := Next(whole[:n]); err == nil {
				t.Errorf("%T, cut at %d of %d: item of kind %d, %d bytes, %d left", op, n, len(whole), kind, len(body), len(rest))
			}
		}
		kind, body, _, err := Next(whole)
		if err != nil {
			t.Fatal(err)
		}
		for n := range body {
			if got, err := Decode(kind, body[:n]); err == nil && n < operationSize {
				t.Errorf("%T, body cut at %d of %d: %+v", op, n, len(body), got)
			}
		}
	}
}

func TestAnUnknownItemIsOfANewerVersion(t *testing.T) {
	for _, kind := range []Kind{0, Records, kindReveal + 1, 1<<16 - 1} {
		if _, err := Decode(kind, make([]byte, 64)); !errors.Is(err, kv.ErrVersion) {
			t.Errorf("kind %d: error is %v, want kv.ErrVersion", kind, err)
		}
	}
}

func TestAnOperationsConfigurationIsChecked(t *testing.T) {
	for _, text := range []string{"", "{", "[]", `{"bucket":"a b"}`, `{"bucket":"a","history":65}`, `{"bucket":"a","max_value_size":1e18}`, `{"bucket":"a","storage":9}`} {
		body := append(make([]byte, operationSize), text...)
		for _, kind := range []Kind{kindCreate, kindEdit, kindCreateHidden} {
			if op, err := Decode(kind, body); err == nil {
				t.Errorf("%q: decoded as %+v", text, op)
			}
		}
	}
}

// A cut that keeps nothing, or more than any history, was never decided.
func TestAnEditsCutIsChecked(t *testing.T) {
	for _, c := range []struct {
		keep uint64
		ok   bool
	}{{0, true}, {1, true}, {kv.MaxHistory, true}, {kv.MaxHistory + 1, false}, {1<<64 - 1, false}} {
		op := &Edit{Bucket: 1, Cut: manifest.Cut{UpTo: 5, Keep: int(c.keep)}, Config: kv.Config{Bucket: "b"}.WithDefaults()}
		kind, body, _, err := Next(Append(nil, op))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(kind, body); (err == nil) != c.ok {
			t.Errorf("a cut to %d records: %v", c.keep, err)
		}
	}
}

// The next revision lies above all that were imported.
func TestARevealsRevisionsAreChecked(t *testing.T) {
	for _, c := range []struct {
		last, next kv.Revision
		ok         bool
	}{{0, 0, false}, {0, 1, true}, {7, 7, false}, {7, 8, true}, {8, 7, false}} {
		kind, body, _, err := Next(Append(nil, &Reveal{Bucket: 1, Last: c.last, Next: c.next}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Decode(kind, body); (err == nil) != c.ok {
			t.Errorf("last %d, next %d: %v", c.last, c.next, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(encodeOperations(sampleOperations...))
	f.Add(encodeOperations(sampleOperations[4]))
	f.Add(encodeOperations(issues...))
	f.Add(encodeOperations(imports...))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		for rest := b; len(rest) > 0; {
			kind, body, next, err := Next(rest)
			if err != nil {
				return
			}
			if len(next) >= len(rest) || len(body) > len(rest) {
				t.Fatalf("item of %d bytes leaves %d of %d", len(body), len(next), len(rest))
			}
			rest = next
			op, err := Decode(kind, body)
			if err != nil {
				continue
			}
			again := Append(nil, op)
			k, body2, _, err := Next(again)
			if err != nil {
				t.Fatal(err)
			}
			op2, err := Decode(k, body2)
			if err != nil || !reflect.DeepEqual(op, op2) {
				t.Fatalf("%+v comes back as %+v, %v", op, op2, err)
			}
			if !bytes.Equal(again, Append(nil, op2)) {
				t.Fatalf("%+v encodes in two ways", op)
			}
		}
	})
}

// Replay applies both frames of an operation.
func TestRulesThatAreChangedTwice(t *testing.T) {
	var once manifest.Liveness
	for _, op := range sampleOperations {
		ChangeRules(&once, op)
		twice := once
		ChangeRules(&twice, op)
		if !reflect.DeepEqual(once, twice) {
			t.Errorf("%T: %+v, the second time %+v", op, once, twice)
		}
	}
	want := manifest.Liveness{
		ExpiredUpTo: 18, MarkersExpiredUpTo: 1<<63 - 1,
		Cuts: []manifest.Cut{{UpTo: 9, Keep: 2}}, PurgedDeletes: manifest.PurgeDeletes{UpTo: 17, MarkersUpTo: 13},
	}
	if !reflect.DeepEqual(once, want) {
		t.Errorf("the rules are %+v, want %+v", once, want)
	}
}
