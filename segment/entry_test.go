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

// entriesOf decodes the entries of a page with that body, whose records are between the file's
// header and end.
func entriesOf(body []byte, count uint64, end int64) (entries []Entry, err error) {
	r := newPageReader(body, &pageHeader{first: HeaderSize, own: totals{records: count}, block: extent{offset: end}})
	for r.advance() {
		entries = append(entries, r.entry)
	}
	return entries, r.err
}

// sampleEntries are consecutive from offset 64.
func sampleEntries() []Entry {
	entries := []Entry{
		{Key: []byte("a"), Revision: 1, Floor: 1, Created: 1790000000000000000, Size: 64, ValueLen: 7, Op: Put, First: true},
		{Key: []byte("b"), Revision: 2, Floor: 2, Created: 1790000000000000001, Deadline: 1790000009000000000, Size: 72, Op: Put},
		{Key: []byte("a"), Revision: 900, Floor: 1, Created: 1790000000000000001, Size: 64, Op: Delete, Reason: kv.ReasonClient},
		{Key: []byte("a"), Revision: 0, Floor: 901, Size: 64, Op: Erase},
		{Key: []byte("b"), Revision: math.MaxUint64, Floor: 0, Created: math.MinInt64, Deadline: math.MaxInt64, Size: 64, Op: Purge, Reason: kv.ReasonExpiry, First: true, Lost: true},
		{Key: []byte("c"), Revision: 7, Floor: 7, Created: 5, Deadline: 6, Size: 96, ValueLen: kv.MaxValueSizeLimit, File: math.MaxUint64, Op: Put, First: true},
		{Key: make([]byte, maxKeySize), Revision: 1, Floor: math.MaxUint64, Created: math.MaxInt64, Deadline: math.MinInt64, Size: maxRecordSize, ValueLen: kv.MaxValueSizeLimit, Op: Put, First: true},
	}
	offset := int64(HeaderSize)
	for i := range entries {
		entries[i].Offset = offset
		offset += int64(entries[i].Size)
	}
	return entries
}

func bodyOf(entries []Entry) (body []byte) {
	var d deltas
	for i := range entries {
		before := len(body)
		body = d.appendEntry(body, &entries[i])
		if n := len(body) - before; n > EntryBound(len(entries[i].Key), entries[i].File != 0) {
			panic(fmt.Sprintf("an entry of %d bytes, bound is %d", n, EntryBound(len(entries[i].Key), false)))
		}
	}
	return body
}

func endOf(entries []Entry) int64 {
	last := &entries[len(entries)-1]
	return last.Offset + int64(last.Size)
}

func TestEntries(t *testing.T) {
	want := sampleEntries()
	n := uint64(len(want))
	body, end := bodyOf(want), endOf(want)
	for _, end := range []int64{end, end + 8} { // zeros may follow the last record
		if got, err := entriesOf(body, n, end); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("decoded %+v, %v", got, err)
		}
	}
	for cut := range body {
		if _, err := entriesOf(body[:cut], n, end); err != errEntry {
			t.Fatalf("cut to %d of %d bytes: %v", cut, len(body), err)
		}
	}
	for name, c := range map[string]struct {
		body  []byte
		count uint64
		end   int64
	}{
		"an entry too many":        {body, n - 1, end},
		"an entry too few":         {body, n + 1, end},
		"records end behind":       {body, n, end - 8},
		"bytes behind the entries": {append(body[:len(body):len(body)], 0), n, end},
	} {
		got, err := entriesOf(c.body, c.count, c.end)
		if err != errEntry {
			t.Errorf("%s: %v", name, err)
		}
		if endOf(got) > c.end {
			t.Errorf("%s: the records end at %d, beyond %d", name, endOf(got), c.end)
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
			w := Entry{Key: append(e.Key[:min(len(e.Key), maxKeySize-1)], 'k'), Revision: kv.Revision(e.Revision), Floor: kv.Revision(e.Floor),
				Created: e.Created, Deadline: e.Deadline, Offset: offset, ValueLen: uint32(e.ValueLen),
				Op: Op(e.Kind%4) + Put, Reason: kv.MarkerReason(e.Kind / 4 % 3)}
			w.First = w.Op != Erase && e.Kind/16%2 == 0
			w.Lost = w.Op != Erase && w.ValueLen == 0 && e.Kind/32%2 == 0
			w.Size = uint32(align(recordFixedSize + len(w.Key) + int(e.ValueLen) + int(e.Size)))
			offset += int64(w.Size)
			want = append(want, w)
		}
		if len(want) == 0 {
			return true
		}
		got, err := entriesOf(bodyOf(want), uint64(len(want)), endOf(want))
		return err == nil && reflect.DeepEqual(got, want)
	}
	if err := quick.Check(check, nil); err != nil {
		t.Error(err)
	}
}

func TestEntryMalformed(t *testing.T) {
	// kind, [flags,] size/8, value length, revision, floor, created, [deadline,] key length, key
	for name, body := range map[string][]byte{
		"empty":                    {},
		"operation 0":              {0, 8, 0, 2, 0, 0, 1, 'k'},
		"reason 3":                 {1 | 3<<4, 8, 0, 2, 0, 0, 1, 'k'},
		"flags 0":                  {1 | entryFlags, 0, 8, 0, 2, 0, 0, 1, 'k'},
		"flags that it has not":    {1 | entryFlags, flagHeaders, 8, 0, 2, 0, 0, 1, 'k'},
		"flags cut off":            {1 | entryFlags},
		"an erase that is first":   {4 | entryFlags, flagFirst, 8, 0, 2, 0, 0, 1, 'k'},
		"lost with a value":        {1 | entryFlags, flagLost, 8, 2, 2, 0, 0, 1, 'k'},
		"deadline 0":               {1 | entryDeadline, 8, 0, 2, 0, 0, 0, 1, 'k'},
		"no key":                   {1, 8, 0, 2, 0, 0, 0},
		"key longer than the body": {1, 8, 0, 2, 0, 0, 2, 'k'},
		"record too small":         {1, 7, 0, 2, 0, 0, 1, 'k'},
		"record beyond its limit":  {1, 0xff, 0xff, 0xff, 0x7f, 0, 2, 0, 0, 1, 'k'},
		"value beyond the record":  {1, 8, 9, 2, 0, 0, 1, 'k'},
		"value beyond its limit":   {1, 8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 0, 0, 1, 'k'},
		"value file 0":             {1 | entryFlags, flagFile, 12, 0x80, 0x20, 2, 0, 0, 0, 1, 'k'},
		"small value in a file":    {1 | entryFlags, flagFile, 12, 0xff, 0x1f, 2, 0, 0, 9, 1, 'k'},
		"no room for a value file": {1 | entryFlags, flagFile, 9, 0x80, 0x20, 2, 0, 0, 9, 1, 'k'},
		"a marker in a file":       {2 | entryFlags, flagFile, 12, 0x80, 0x20, 2, 0, 0, 9, 1, 'k'},
		"varint without an end":    {1, 8, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1, 'k'},
	} {
		var d deltas
		if _, err := d.decodeEntry(body, &Entry{}); err != errEntry {
			t.Errorf("%s: %v", name, err)
		}
	}
	for n, body := range map[int][]byte{8: {1, 8, 0, 2, 0, 0, 1, 'k'}, 9: {1 | entryFlags, flagFirst | flagLost, 8, 0, 2, 0, 0, 1, 'k'},
		11: {1 | entryFlags, flagFile, 10, 0x80, 0x20, 2, 0, 0, 9, 1, 'k'}} {
		var d deltas
		if got, err := d.decodeEntry(body, &Entry{}); got != n || err != nil {
			t.Errorf("the unchanged entry of %d bytes: %d, %v", n, got, err)
		}
	}
	for _, flag := range []byte{flagTransaction, flagLease} {
		var d deltas
		if _, err := d.decodeEntry([]byte{1 | entryFlags, flag, 8, 0, 2, 0, 0, 1, 'k'}, &Entry{}); !errors.Is(err, kv.ErrVersion) || errors.Is(err, kv.ErrCorrupt) {
			t.Errorf("flag %d: %v", flag, err)
		}
	}
}

// The entries of a million keys of 16 bytes take some 26 MB.
func TestEntriesAreSmall(t *testing.T) {
	const n = 10000
	var d deltas
	var body []byte
	for i := range n {
		e := Entry{Key: fmt.Appendf(nil, "key.%012d", i), Revision: kv.Revision(i + 1), Floor: kv.Revision(i + 1),
			Created: 1790000000000000000 + int64(i)*10_000_000, Size: 208, ValueLen: 128, Op: Put, First: true}
		body = d.appendEntry(body, &e)
	}
	if per := len(body) / n; per > 28 {
		t.Errorf("%d bytes per entry", per)
	}
}
