package bucket

import (
	"bytes"
	"fmt"
	"testing"

	"kvd/internal/view"
	"kvd/segment"
)

// Entries that share allocations share no bytes: not when one is appended to, and not
// with the record, whose buffer the next one takes.
func TestEntriesOfOneRoomAreApart(t *testing.T) {
	b := &Bucket{name: "b"}
	var room entryRoom
	type want struct{ key, value, headers string }
	var wants []want
	var got []*segment.Record
	for i := range 200 {
		w := want{key: fmt.Sprintf("k%d", i), value: string(bytes.Repeat([]byte{byte(i)}, i*i%1500)), headers: string(bytes.Repeat([]byte{'h'}, i%3))}
		wants = append(wants, w)
		rec := &segment.Record{Key: []byte(w.key), Value: []byte(w.value), Headers: []byte(w.headers), Revision: 1}
		e := room.entry(b, rec)
		clear(rec.Key)
		clear(rec.Value)
		clear(rec.Headers)
		_, _ = append(e.Value, 'x'), append(e.Headers, 'x')
		got = append(got, &segment.Record{Key: view.Bytes(e.Key), Value: e.Value, Headers: e.Headers})
	}
	for i, w := range wants {
		if g := got[i]; string(g.Key) != w.key || string(g.Value) != w.value || string(g.Headers) != w.headers {
			t.Errorf("entry %d: key %q, %d bytes of value, headers %q", i, g.Key, len(g.Value), g.Headers)
		}
	}
}
