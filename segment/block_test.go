package segment

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"testing"
	"testing/quick"

	"kvd/kv"
)

func TestBlockHeader(t *testing.T) {
	at := place{bucketID: 7, number: 3, offset: 1 << 20}
	want := blockHeader{bodySum: 99, prev: 4096, start: 8192, count: 1000, length: 30000}
	b := testSeed.appendBlockHeader(nil, at, &want)
	if len(b) != blockHeaderSize {
		t.Fatalf("encoded in %d bytes", len(b))
	}
	if got, err := testSeed.decodeBlockHeader(b, at); err != nil || got != want {
		t.Fatalf("decoded %+v, %v", got, err)
	}
	for bit := range len(b) * 8 {
		b[bit/8] ^= 1 << (bit % 8)
		if got, err := testSeed.decodeBlockHeader(b, at); !errors.Is(err, kv.ErrCorrupt) {
			t.Errorf("bit %d flipped: %+v, %v", bit, got, err)
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
	for n := range b {
		if _, err := testSeed.decodeBlockHeader(b[:n], at); !errors.Is(err, errBlockMagic) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	for _, elsewhere := range []place{{8, 3, 1 << 20}, {7, 4, 1 << 20}, {7, 3, 1<<20 + 8}} {
		if _, err := testSeed.decodeBlockHeader(b, elsewhere); !errors.Is(err, errBlockHeadSum) {
			t.Errorf("at %+v: %v", elsewhere, err)
		}
	}
	if _, err := (testSeed + 1).decodeBlockHeader(b, at); !errors.Is(err, errBlockHeadSum) {
		t.Errorf("with another store's seed: %v", err)
	}
}

func TestBlockHeaderRanges(t *testing.T) {
	at := place{bucketID: 7, number: 3, offset: 8192}
	for name, h := range map[string]blockHeader{
		"starts in the file header":        {start: 56, count: 1, length: 20},
		"starts at itself":                 {start: 8192, count: 1, length: 20},
		"starts behind itself":             {start: 8200, count: 1, length: 20},
		"starts before everything":         {start: -8, count: 1, length: 20},
		"predecessor behind its range":     {start: 4096, prev: 4096, count: 1, length: 20},
		"predecessor before everything":    {start: 4096, prev: -8, count: 1, length: 20},
		"no entries":                       {start: 4096, length: 20},
		"longer than the records it lists": {start: 4096, count: 1, length: 4097},
	} {
		b := testSeed.appendBlockHeader(nil, at, &h)
		if _, err := testSeed.decodeBlockHeader(b, at); err != errBlockRange {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// entriesOf decodes the entries of a block with that body.
func entriesOf(body []byte, count uint32, start, end int64) (entries []Entry, err error) {
	r := newEntryReader(body, &blockHeader{start: start, count: count}, end)
	for r.advance() {
		entries = append(entries, r.entry)
	}
	return entries, r.err
}

// sampleEntries are consecutive from offset 64.
func sampleEntries() []Entry {
	entries := []Entry{
		{Key: []byte("a"), Revision: 1, Floor: 1, Created: 1790000000000000000, Size: 64, ValueLen: 7, Op: Put},
		{Key: []byte("b"), Revision: 2, Floor: 2, Created: 1790000000000000001, Deadline: 1790000009000000000, Size: 72, Op: Put},
		{Key: []byte("a"), Revision: 900, Floor: 1, Created: 1790000000000000001, Size: 64, Op: Delete, Reason: kv.ReasonClient},
		{Key: []byte("a"), Revision: 0, Floor: 901, Size: 64, Op: Erase},
		{Key: []byte("b"), Revision: math.MaxUint64, Floor: 0, Created: math.MinInt64, Deadline: math.MaxInt64, Size: 64, Op: Purge, Reason: kv.ReasonExpiry},
		{Key: make([]byte, maxKeySize), Revision: 1, Floor: math.MaxUint64, Created: math.MaxInt64, Deadline: math.MinInt64, Size: maxRecordSize, ValueLen: kv.MaxValueSizeLimit, Op: Put},
	}
	offset := int64(HeaderSize)
	for i := range entries {
		entries[i].Offset = offset
		offset += int64(entries[i].Size)
	}
	return entries
}

func bodyOf(entries []Entry) (body []byte, start, end int64) {
	var d deltas
	for i := range entries {
		before := len(body)
		body = d.appendEntry(body, &entries[i])
		if n := len(body) - before; n > EntryBound(len(entries[i].Key)) {
			panic(fmt.Sprintf("an entry of %d bytes, bound is %d", n, EntryBound(len(entries[i].Key))))
		}
		end = entries[i].Offset + int64(entries[i].Size)
	}
	return body, entries[0].Offset, end
}

func TestEntries(t *testing.T) {
	want := sampleEntries()
	body, start, end := bodyOf(want)
	got, err := entriesOf(body, uint32(len(want)), start, end)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("decoded %+v, %v", got, err)
	}
	for n := range body {
		if _, err := entriesOf(body[:n], uint32(len(want)), start, end); err != errEntry {
			t.Fatalf("cut to %d of %d bytes: %v", n, len(body), err)
		}
	}
	for name, c := range map[string]struct {
		body       []byte
		count      uint32
		start, end int64
	}{
		"an entry too many":        {body, uint32(len(want) - 1), start, end},
		"an entry too few":         {body, uint32(len(want) + 1), start, end},
		"records end before":       {body, uint32(len(want)), start, end + 8},
		"records end behind":       {body, uint32(len(want)), start, end - 8},
		"bytes behind the entries": {append(body[:len(body):len(body)], 0), uint32(len(want)), start, end},
	} {
		got, err := entriesOf(c.body, c.count, c.start, c.end)
		if err != errEntry {
			t.Errorf("%s: %v", name, err)
		}
		if last := got[len(got)-1]; last.Offset+int64(last.Size) > c.end {
			t.Errorf("%s: an entry of a record at %d, %d bytes, beyond %d", name, last.Offset, last.Size, c.end)
		}
	}
}

func TestEntriesRoundTripAnything(t *testing.T) {
	check := func(entries []struct {
		Key               []byte
		Revision, Floor   uint64
		Created, Deadline int64
		Size, ValueLen    uint16
		Kind              uint8
	}) bool {
		want := make([]Entry, 0, len(entries))
		offset := int64(HeaderSize)
		for _, e := range entries {
			w := Entry{Key: append(e.Key, 'k'), Revision: kv.Revision(e.Revision), Floor: kv.Revision(e.Floor),
				Created: e.Created, Deadline: e.Deadline, Offset: offset, ValueLen: uint32(e.ValueLen),
				Op: Op(e.Kind%4) + Put, Reason: kv.MarkerReason(e.Kind / 4 % 3)}
			w.Size = uint32(align(recordFixedSize + len(w.Key) + int(e.ValueLen) + int(e.Size)))
			offset += int64(w.Size)
			want = append(want, w)
		}
		if len(want) == 0 {
			return true
		}
		body, start, end := bodyOf(want)
		got, err := entriesOf(body, uint32(len(want)), start, end)
		return err == nil && reflect.DeepEqual(got, want)
	}
	if err := quick.Check(check, nil); err != nil {
		t.Error(err)
	}
}

func TestEntryMalformed(t *testing.T) {
	// kind, size/8, value length, revision, floor, created, [deadline,] key length, key
	for name, body := range map[string][]byte{
		"empty":                    {},
		"operation 0":              {0, 8, 0, 2, 0, 0, 1, 'k'},
		"reason 3":                 {1 | 3<<4, 8, 0, 2, 0, 0, 1, 'k'},
		"high bit of the kind":     {1 | 1<<7, 8, 0, 2, 0, 0, 1, 'k'},
		"deadline 0":               {1 | entryDeadline, 8, 0, 2, 0, 0, 0, 1, 'k'},
		"no key":                   {1, 8, 0, 2, 0, 0, 0},
		"key longer than the body": {1, 8, 0, 2, 0, 0, 2, 'k'},
		"record too small":         {1, 7, 0, 2, 0, 0, 1, 'k'},
		"record beyond its limit":  {1, 0xff, 0xff, 0xff, 0x7f, 0, 2, 0, 0, 1, 'k'},
		"value beyond the record":  {1, 8, 9, 2, 0, 0, 1, 'k'},
		"value beyond its limit":   {1, 8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 0, 0, 1, 'k'},
		"varint without an end":    {1, 8, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1, 'k'},
	} {
		var d deltas
		if _, err := d.decodeEntry(body, &Entry{}); err != errEntry {
			t.Errorf("%s: %v", name, err)
		}
	}
	var d deltas
	if n, err := d.decodeEntry([]byte{1, 8, 0, 2, 0, 0, 1, 'k'}, &Entry{}); n != 8 || err != nil {
		t.Errorf("the unchanged entry: %d, %v", n, err)
	}
}

// The entries of a million keys of 16 bytes take some 26 MB.
func TestEntriesAreSmall(t *testing.T) {
	const n = 10000
	var d deltas
	var body []byte
	for i := range n {
		e := Entry{Key: fmt.Appendf(nil, "key.%012d", i), Revision: kv.Revision(i + 1), Floor: kv.Revision(i + 1),
			Created: 1790000000000000000 + int64(i)*10_000_000, Size: 208, ValueLen: 128, Op: Put}
		body = d.appendEntry(body, &e)
	}
	if per := len(body) / n; per > 28 {
		t.Errorf("%d bytes per entry", per)
	}
}
