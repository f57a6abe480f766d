package bucket

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"kvd/internal/golden"
	"kvd/kv"
)

// fullConfig has every field that a bucket can be stored with.
var fullConfig = kv.Config{
	Bucket: "full", Description: "every field", History: 7, TTL: time.Hour, MarkerTTL: time.Minute,
	MaxValueSize: 1234, MaxBytes: 56789, Storage: kv.MemoryStorage, Compression: true,
	Sync: kv.SyncInterval, SyncInterval: 50 * time.Millisecond, Metadata: map[string]string{"a": "1", "b": "2"},
}

var sampleOperations = []operation{
	{kind: opCreate, bucketID: 1, a: 1_700_000_000_000_000_000, config: kv.Config{Bucket: "small"}.WithDefaults()},
	{kind: opCreate, bucketID: 2, a: 3, config: fullConfig},
	{kind: opEdit, bucketID: 1, a: 9, b: 2, config: kv.Config{Bucket: "small", History: 2}.WithDefaults()},
	{kind: opEdit, bucketID: 1, config: kv.Config{Bucket: "small", History: 3}.WithDefaults()},
	{kind: opDelete, bucketID: 1<<64 - 1},
	{kind: opForget, bucketID: 2, a: 17, b: 13},
	{kind: opExpire, bucketID: 2, a: 18},
	{kind: opLapse, bucketID: 2, a: 1<<63 - 1},
}

func encodeOperations(ops []operation) []byte {
	var b []byte
	for i := range ops {
		b = appendOperation(b, &ops[i])
	}
	return b
}

func decodeOperations(t *testing.T, b []byte) []operation {
	t.Helper()
	var ops []operation
	for len(b) > 0 {
		kind, body, rest, err := nextItem(b)
		if err != nil {
			t.Fatal(err)
		}
		op, err := decodeOperation(kind, body)
		if err != nil {
			t.Fatal(err)
		}
		ops, b = append(ops, op), rest
	}
	return ops
}

func TestOperationsComeBackAsTheyWere(t *testing.T) {
	b := encodeOperations(sampleOperations)
	if len(b)%8 != 0 {
		t.Errorf("%d bytes are not 8-byte aligned", len(b))
	}
	if got := decodeOperations(t, b); !reflect.DeepEqual(got, sampleOperations) {
		t.Errorf("got %+v, want %+v", got, sampleOperations)
	}
	golden.Compare(t, "operations", b)
}

// An operation says how long it is, so any cut shows.
func TestACutOperationIsAnError(t *testing.T) {
	for _, op := range sampleOperations {
		whole := appendOperation(nil, &op)
		for n := range whole {
			if kind, body, rest, err := nextItem(whole[:n]); err == nil {
				t.Errorf("kind %d, cut at %d of %d: item of kind %d, %d bytes, %d left", op.kind, n, len(whole), kind, len(body), len(rest))
			}
		}
		_, body, _, err := nextItem(whole)
		if err != nil {
			t.Fatal(err)
		}
		for n := range body {
			if got, err := decodeOperation(op.kind, body[:n]); err == nil && n < opFixedSize {
				t.Errorf("kind %d, body cut at %d of %d: %+v", op.kind, n, len(body), got)
			}
		}
	}
}

func TestAnUnknownItemIsOfANewerVersion(t *testing.T) {
	for _, kind := range []itemKind{0, itemRecords, opLapse + 1, 1<<16 - 1} {
		_, err := decodeOperation(kind, make([]byte, 64))
		wantError(t, err, kv.ErrVersion)
	}
}

func TestAnOperationsConfigurationIsChecked(t *testing.T) {
	for _, text := range []string{"", "{", "[]", `{"bucket":"a b"}`, `{"bucket":"a","history":65}`, `{"bucket":"a","max_value_size":1e18}`, `{"bucket":"a","storage":9}`} {
		body := append(make([]byte, opFixedSize), text...)
		if op, err := decodeOperation(opCreate, body); err == nil {
			t.Errorf("%q: decoded as %+v", text, op)
		}
	}
}

// A cut that keeps nothing, or more than any history, was never decided.
func TestAnEditsCutIsChecked(t *testing.T) {
	for _, c := range []struct {
		b  uint64
		ok bool
	}{{0, true}, {1, true}, {kv.MaxHistory, true}, {kv.MaxHistory + 1, false}, {1<<64 - 1, false}} {
		op := operation{kind: opEdit, bucketID: 1, a: 5, b: c.b, config: kv.Config{Bucket: "b"}.WithDefaults()}
		kind, body, _, err := nextItem(appendOperation(nil, &op))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeOperation(kind, body); (err == nil) != c.ok {
			t.Errorf("a cut to %d records: %v", c.b, err)
		}
	}
}

func FuzzOperationDecode(f *testing.F) {
	f.Add(encodeOperations(sampleOperations))
	f.Add(encodeOperations(sampleOperations[4:5]))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		for rest := b; len(rest) > 0; {
			kind, body, next, err := nextItem(rest)
			if err != nil {
				return
			}
			if len(next) >= len(rest) || len(body) > len(rest) {
				t.Fatalf("item of %d bytes leaves %d of %d", len(body), len(next), len(rest))
			}
			rest = next
			op, err := decodeOperation(kind, body)
			if err != nil {
				continue
			}
			again := appendOperation(nil, &op)
			k, body2, _, err := nextItem(again)
			if err != nil {
				t.Fatal(err)
			}
			op2, err := decodeOperation(k, body2)
			if err != nil || !reflect.DeepEqual(op, op2) {
				t.Fatalf("%+v comes back as %+v, %v", op, op2, err)
			}
			if !bytes.Equal(again, appendOperation(nil, &op2)) {
				t.Fatalf("%+v encodes in two ways", op)
			}
		}
	})
}
