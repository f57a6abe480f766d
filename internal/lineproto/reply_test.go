package lineproto_test

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"kvd/internal/lineproto"
	"kvd/kv"
)

var (
	created  = time.Date(2026, 11, 22, 18, 0, 0, 123456789, time.UTC)
	deadline = time.Date(2026, 11, 22, 18, 0, 30, 0, time.UTC)
	entry    = kv.Entry{Key: "Key1", Value: []byte("Value1"), Revision: 1, Created: created, Operation: kv.Put}
	marker   = kv.Entry{Key: "k", Value: []byte{}, Revision: 3, Created: created, Operation: kv.Delete, Reason: kv.ReasonClient, Delta: 4}
	expiry   = kv.Entry{Key: "k", Value: []byte{}, Revision: 5, Created: created, Operation: kv.Purge, Reason: kv.ReasonExpiry}
	purge    = kv.Entry{Key: "k", Value: []byte{}, Revision: 6, Created: created, Operation: kv.Purge, Reason: kv.ReasonClient, Deadline: deadline}
)

var taken = kv.BackupTaken{LSN: 5, Size: 9, SHA256: [32]byte(bytes.Repeat([]byte{7}, 32)), Damage: 2}

// replies has the exported fields of every reply, and its spelling.
var replies = []struct {
	text string
	line []byte
	want lineproto.Reply
	err  error // what Err returns
}{
	{"+OK\r\n", lineproto.AppendOK(nil), lineproto.Reply{Kind: lineproto.ReplyOK}, nil},
	{"+OK 7\r\n", lineproto.AppendNumber(nil, 7), lineproto.Reply{Kind: lineproto.ReplyOK, Number: 7}, nil},
	{"+END 2\r\n", lineproto.AppendEnd(nil, 2), lineproto.Reply{Kind: lineproto.ReplyEnd, Number: 2}, nil},
	{"+DATA 3\r\nabc\r\n", lineproto.AppendData(nil, []byte("abc")), lineproto.Reply{Kind: lineproto.ReplyData, Entry: kv.Entry{Value: []byte("abc")}}, nil},
	{"+END 9 lsn=5 sha256=" + strings.Repeat("07", 32) + " damage=2\r\n", lineproto.AppendTaken(nil, &taken), lineproto.Reply{Kind: lineproto.ReplyEnd, Number: 9, Taken: taken}, nil},
	{"+KEY a.b\r\n", lineproto.AppendKey(nil, "a.b"), lineproto.Reply{Kind: lineproto.ReplyKey, Name: "a.b"}, nil},
	{"+KEY a,b\"\u00e9\r\n", lineproto.AppendKey(nil, "a,b\"é"), lineproto.Reply{Kind: lineproto.ReplyKey, Name: "a,b\"é"}, nil},
	{`+KEY "\"a\\\""` + "\r\n", lineproto.AppendKey(nil, `"a\"`), lineproto.Reply{Kind: lineproto.ReplyKey, Name: `"a\"`}, nil},
	{"+NONE k\r\n", lineproto.AppendNone(nil, "k", nil), lineproto.Reply{Kind: lineproto.ReplyNone, Name: "k"}, nil},
	{"+NONE k CORRUPT : gone\r\n", lineproto.AppendNone(nil, "k", fmt.Errorf("%w: gone", kv.ErrCorrupt)), lineproto.Reply{Kind: lineproto.ReplyNone, Name: "k"}, kv.ErrCorrupt},
	{"+CHILD \"\" keys=0 key=yes\r\n", lineproto.AppendChild(nil, &kv.Child{Key: true}), lineproto.Reply{Kind: lineproto.ReplyChild, Child: kv.Child{Key: true}}, nil},
	{"+CHILD a keys=1000 more=yes\r\n", lineproto.AppendChild(nil, &kv.Child{Name: "a", Keys: 1000, More: true}), lineproto.Reply{Kind: lineproto.ReplyChild, Child: kv.Child{Name: "a", Keys: 1000, More: true}}, nil},
	{"+END 7 more=\"\\\"k\"\r\n", lineproto.AppendPageEnd(nil, 7, `"k`), lineproto.Reply{Kind: lineproto.ReplyEnd, Number: 7, More: `"k`, Taken: kv.BackupTaken{Size: 7}}, nil},
	{"+TXN then 3 2\r\n", lineproto.AppendTxn(nil, true, 3, 2), lineproto.Reply{Kind: lineproto.ReplyTxn, Then: true, Number: 3, Buckets: 2}, nil},
	{"+TXN else 0 0\r\n", lineproto.AppendTxn(nil, false, 0, 0), lineproto.Reply{Kind: lineproto.ReplyTxn}, nil},
	{"+AT my-kv 7\r\n", lineproto.AppendAt(nil, "my-kv", 7), lineproto.Reply{Kind: lineproto.ReplyAt, Name: "my-kv", Number: 7}, nil},
	{"-ERR KEY_EXISTS op=3 actual=4 : k\r\n", []byte("-ERR KEY_EXISTS op=3 actual=4 : k\r\n"), lineproto.Reply{Kind: lineproto.ReplyError}, kv.ErrKeyExists},
	{"+BUCKET my-kv\r\n", lineproto.AppendBucket(nil, "my-kv"), lineproto.Reply{Kind: lineproto.ReplyBucket, Name: "my-kv"}, nil},
	{"+RECLAIMED 5 9 3\r\n", lineproto.AppendReclaimed(nil, &kv.Reclaimed{Done: 5, Total: 9, Freed: 3}), lineproto.Reply{Kind: lineproto.ReplyReclaimed, Reclaimed: kv.Reclaimed{Done: 5, Total: 9, Freed: 3}}, nil},
	{"+DOUBT 0\r\n", doubtLine(&kv.Doubt{}, 0), lineproto.Reply{Kind: lineproto.ReplyDoubt}, nil},
	{"+DOUBT 4 all=yes\r\n", doubtLine(&doubt, 0), lineproto.Reply{Kind: lineproto.ReplyDoubt, Bound: 4, Unknown: true}, nil},
	{"+MISSING 2 4 records=3 file=\"a file\" offset=-1\r\n", doubtLine(&doubt, 1), lineproto.Reply{Kind: lineproto.ReplyMissing, Missing: doubt.Missing[0]}, nil},
	{"+MISSING 0 1 file=f offset=9\r\n", doubtLine(&doubt, 2), lineproto.Reply{Kind: lineproto.ReplyMissing, Missing: doubt.Missing[1]}, nil},
	{"+LOSTRECORD k 7\r\n", doubtLine(&doubt, 3), lineproto.Reply{Kind: lineproto.ReplyLostRecord, LostRecord: doubt.Lost[0]}, nil},
	{"+ENTRY Key1 1 PUT 2026-11-22T18:00:00.123456789Z 6\r\nValue1\r\n", lineproto.AppendEntry(nil, &entry), lineproto.Reply{Kind: lineproto.ReplyEntry, Entry: entry}, nil},
	{"+ENTRY k 3 DEL 2026-11-22T18:00:00.123456789Z delta=4 0\r\n\r\n", lineproto.AppendEntry(nil, &marker), lineproto.Reply{Kind: lineproto.ReplyEntry, Entry: marker}, nil},
	{"+ENTRY k 6 PURGE 2026-11-22T18:00:00.123456789Z deadline=2026-11-22T18:00:30Z 0\r\n\r\n", lineproto.AppendEntry(nil, &purge), lineproto.Reply{Kind: lineproto.ReplyEntry, Entry: purge}, nil},
	{"EVENT 7 Key1 1 PUT 2026-11-22T18:00:00.123456789Z 0 6\r\nValue1\r\n", lineproto.AppendUpdate(nil, 7, &kv.Update{Entry: &entry, ValueSize: 6}), lineproto.Reply{Kind: lineproto.ReplyEvent, Watch: 7, Entry: entry, Size: 6}, nil},
	{"EVENT 7 k 3 DEL 2026-11-22T18:00:00.123456789Z 4 0\r\n\r\n", lineproto.AppendUpdate(nil, 7, &kv.Update{Entry: &marker}), lineproto.Reply{Kind: lineproto.ReplyEvent, Watch: 7, Entry: marker}, nil},
	{"EVENT 7 k 5 EXPIRE 2026-11-22T18:00:00.123456789Z 0 0\r\n\r\n", lineproto.AppendUpdate(nil, 7, &kv.Update{Entry: &expiry}), lineproto.Reply{Kind: lineproto.ReplyEvent, Watch: 7, Entry: expiry}, nil},
	{
		"EVENT 7 k 3 DEL 2026-11-22T18:00:00.123456789Z 4 size=9 0\r\n\r\n", lineproto.AppendUpdate(nil, 7, &kv.Update{Entry: &marker, ValueSize: 9}),
		lineproto.Reply{Kind: lineproto.ReplyEvent, Watch: 7, Entry: marker, Size: 9}, nil,
	},
	{
		"LOST 7 k 3 DEL 2026-11-22T18:00:00.123456789Z 4 CORRUPT file=f offset=1 detail=d : f at offset 1: d\r\n",
		lineproto.AppendUpdate(nil, 7, &kv.Update{Entry: &marker, Err: &kv.CorruptError{File: "f", Offset: 1, Detail: "d"}}),
		lineproto.Reply{Kind: lineproto.ReplyLostEvent, Watch: 7, Entry: lost(marker)}, kv.ErrCorrupt,
	},
	{"SYNCED 7\r\n", lineproto.AppendUpdate(nil, 7, &kv.Update{}), lineproto.Reply{Kind: lineproto.ReplySynced, Watch: 7}, nil},
	{"END 7\r\n", lineproto.AppendWatchEnd(nil, 7, nil, 0), lineproto.Reply{Kind: lineproto.ReplyWatchEnd, Watch: 7}, nil},
	{
		"END 7 COMPACTED first=90 wanted=7 : bucket \"b\" has everything from revision 90 on, not from 7\r\n",
		lineproto.AppendWatchEnd(nil, 7, &kv.CompactedError{Bucket: "b", First: 90, Wanted: 7}, 0),
		lineproto.Reply{Kind: lineproto.ReplyWatchEnd, Watch: 7}, kv.ErrCompacted,
	},
	{
		"END 7 SHUTDOWN next=91 : the server is shutting down\r\n", lineproto.AppendWatchEnd(nil, 7, lineproto.ErrShutdown, 91),
		lineproto.Reply{Kind: lineproto.ReplyWatchEnd, Watch: 7, Next: 91}, lineproto.ErrShutdown,
	},
	{
		"+LOST k 3 DEL 2026-11-22T18:00:00.123456789Z delta=4 CORRUPT file=f offset=1 detail=d : f at offset 1: d\r\n",
		lineproto.AppendLost(nil, &marker, &kv.CorruptError{File: "f", Offset: 1, Detail: "d"}),
		lineproto.Reply{Kind: lineproto.ReplyLost, Entry: lost(marker)}, kv.ErrCorrupt,
	},
	{"-ERR KEY_NOT_FOUND : Key1\r\n", lineproto.AppendError(nil, kv.ErrKeyNotFound, "Key1"), lineproto.Reply{Kind: lineproto.ReplyError}, kv.ErrKeyNotFound},
	{
		"+HELLO 1 server=\"kvd 0.1\" store=000102030405060708090a0b0c0d0e0f sync=always auth=yes\r\n",
		lineproto.AppendHello(nil, &hello), lineproto.Reply{Kind: lineproto.ReplyHello, Hello: hello}, nil,
	},
}

var hello = lineproto.Hello{Protocol: 1, Server: "kvd 0.1", StoreID: [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, Auth: true}

var doubt = kv.Doubt{
	Bound: 4, Unknown: true,
	Missing: []kv.MissingRange{{After: 2, UpTo: 4, Records: 3, File: "a file", Offset: -1}, {UpTo: 1, File: "f", Offset: 9}},
	Lost:    []kv.LostRecord{{Key: "k", Revision: 7}},
}

// doubtLine returns one of the lines of a doubt.
func doubtLine(d *kv.Doubt, n int) []byte {
	lines, count := lineproto.AppendDoubt(nil, d)
	all := bytes.SplitAfter(lines, []byte("\r\n"))
	if uint64(len(all)) != count+1 {
		panic("a wrong number of lines")
	}
	return all[n]
}

// lost is an entry without its value.
func lost(e kv.Entry) kv.Entry {
	e.Value = nil
	return e
}

// sameReply compares the exported fields.
func sameReply(a, b *lineproto.Reply) bool {
	return a.Kind == b.Kind && a.Number == b.Number && a.Name == b.Name && a.Watch == b.Watch && a.Next == b.Next &&
		reflect.DeepEqual(a.Entry, b.Entry) && a.Hello == b.Hello && a.Reclaimed == b.Reclaimed &&
		a.Bound == b.Bound && a.Unknown == b.Unknown && a.Missing == b.Missing && a.LostRecord == b.LostRecord &&
		a.Then == b.Then && a.Buckets == b.Buckets
}

func TestReplies(t *testing.T) {
	for _, tt := range replies {
		t.Run(tt.text, func(t *testing.T) {
			if string(tt.line) != tt.text {
				t.Fatalf("it is written\n%q, want\n%q", tt.line, tt.text)
			}
			var r lineproto.Reply
			n, err := lineproto.ParseReply([]byte(tt.text+"+OK\r\n"), &r)
			if err != nil || n != len(tt.text) {
				t.Fatalf("size %d of %d, error %v", n, len(tt.text), err)
			}
			if !sameReply(&r, &tt.want) {
				t.Errorf("it is\n%+v, want\n%+v", r, tt.want)
			}
			if err := r.Err("", "Key1"); !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
				t.Errorf("its error is %v, want %v", err, tt.err)
			}
			for cut := range len(tt.text) {
				if need, err := lineproto.ParseReply([]byte(tt.text[:cut]), &r); err != lineproto.ErrIncomplete || need <= cut || need > len(tt.text) {
					t.Fatalf("%q needs %d bytes, error %v", tt.text[:cut], need, err)
				}
			}
		})
	}
}

func TestRepliesThatDoNotParse(t *testing.T) {
	for _, text := range []string{
		"\r\n", "OK\r\n", "+NO\r\n", "+OK \r\n", "+OK x\r\n", "+OK 1 2\r\n", "+OK 01\r\n", "+END\r\n", "+KEY\r\n", "+KEY a b\r\n",
		"SYNCED\r\n", "SYNCED 1 2\r\n", "END\r\n", "END 1 CODE\r\n", "END 1 CODE a : b\r\n", "-ERR\r\n", "-ERR CODE\r\n", "-ERR CODE : \n",
		"+ENTRY\r\n", "+ENTRY k\r\n", "+ENTRY k 1\r\n", "+ENTRY k 1 PUT\r\n", "+ENTRY k 1 PUT now 0\r\n\r\n",
		"+ENTRY k 1 SET 2026-11-22T18:00:00Z 0\r\n\r\n", "+ENTRY k 1 PUT 2026-11-22T18:00:00+01:00 0\r\n\r\n",
		"+ENTRY k 1 PUT 2026-11-22T18:00:00Z\r\n", "+ENTRY k 1 PUT 2026-11-22T18:00:00Z x 0\r\n", "+ENTRY k 1 PUT 2026-11-22T18:00:00Z -1\r\n",
		"+ENTRY k 1 PUT 2026-11-22T18:00:00Z delta=x 0\r\n\r\n", "+ENTRY k 1 PUT 2026-11-22T18:00:00Z 1\r\nxy\r\n",
		"+ENTRY k 1 PUT 2026-11-22T18:00:00Z 100000000\r\n",
		"EVENT 1 k 1 PUT 2026-11-22T18:00:00Z 0\r\n", "EVENT k 1 PUT 2026-11-22T18:00:00Z 0 0\r\n\r\n",
		"+LOST k 1 PUT 2026-11-22T18:00:00Z\r\n", "+LOST k 1 PUT 2026-11-22T18:00:00Z delta=x CODE : t\r\n",
		"+HELLO\r\n", "+HELLO 0\r\n", "+HELLO 1 store=00\r\n", "+HELLO 1 sync=never\r\n", "+HELLO 1 x\r\n", "+HELLO 1 auth=maybe\r\n",
		"+HELLO 1 store=000102030405060708090a0b0c0d0e0f00\r\n",
		"+DOUBT\r\n", "+DOUBT x\r\n", "+DOUBT 1 x\r\n", "+DOUBT 1 all=maybe\r\n", "+MISSING 1\r\n", "+MISSING 1 2 x\r\n", "+MISSING 1 2 records=x\r\n",
		"+MISSING 1 2 offset=x\r\n", "+LOSTRECORD k\r\n", "+LOSTRECORD k x\r\n", "+LOSTRECORD k 1 x\r\n",
		"+TXN\r\n", "+TXN maybe 1 1\r\n", "+TXN then 1\r\n", "+TXN then 2049 0\r\n", "+TXN then 0 0 0\r\n", "+AT b\r\n", "+AT b 1 1\r\n", "+NONE\r\n", "+NONE k CODE\r\n", "+CHILD\r\n", "+CHILD a x\r\n", "+CHILD a keys=x\r\n", "+CHILD a key=maybe\r\n", "+CHILD \"\r\n",
		"+INFO\r\n", "+INFO b x y\r\n", "+INFO b 1x\r\n",
	} {
		var r lineproto.Reply
		if n, err := lineproto.ParseReply([]byte(text), &r); !errors.Is(err, lineproto.ErrSyntax) {
			t.Errorf("%q: size %d, error %v", text, n, err)
		}
	}
}

func TestNewerServersMayTellMore(t *testing.T) {
	for _, text := range []string{
		"+ENTRY k 1 PUT 2026-11-22T18:00:00Z color=red 1\r\nx\r\n",
		"+HELLO 1 color=red server=kvd\r\n",
		"+DOUBT 1 color=red\r\n",
		"+CHILD a keys=1 color=red\r\n",
		"+MISSING 1 2 color=red file=f offset=1\r\n",
		"+INFO b id=1 color=red keys=2\r\n",
	} {
		var r lineproto.Reply
		if _, err := lineproto.ParseReply([]byte(text), &r); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if r.Kind != lineproto.ReplyInfo {
			continue
		}
		if st, err := r.Status(); err != nil || st.ID != 1 || st.Keys != 2 {
			t.Errorf("%q: %+v, %v", text, st, err)
		}
	}
}

func TestEntryHeaderMax(t *testing.T) {
	for _, key := range []string{"k", strings.Repeat("k", kv.MaxKeySize), strings.Repeat(`"`, kv.MaxKeySize)} {
		e := kv.Entry{Key: key, Revision: 1<<64 - 1, Operation: kv.Purge, Reason: kv.ReasonExpiry, Created: created, Deadline: created, Delta: 1<<64 - 1}
		if n := len(lineproto.AppendEntryHeader(nil, &e, lineproto.MaxLength)); n > lineproto.EntryHeaderMax(len(key)) {
			t.Errorf("a header of %d bytes, at most %d", n, lineproto.EntryHeaderMax(len(key)))
		}
	}
}

// The longest lines have a key that is written as a string, and an error that quotes it too.
func TestLinesOfTheLongestKeysFit(t *testing.T) {
	key := strings.Repeat(`"`, kv.MaxKeySize)
	e := kv.Entry{Key: key, Revision: 1<<64 - 1, Operation: kv.Purge, Reason: kv.ReasonExpiry, Created: created, Deadline: created, Delta: 1<<64 - 1}
	lost := &kv.CorruptError{Bucket: strings.Repeat("b", kv.MaxBucketNameSize), File: strings.Repeat("f", 200), Offset: 1 << 60, Detail: strings.Repeat("d", 200)}
	for name, line := range map[string][]byte{
		"entry":      lineproto.AppendEntry(nil, &e),
		"event":      lineproto.AppendUpdate(nil, 1<<64-1, &kv.Update{Entry: &e}),
		"lost event": lineproto.AppendUpdate(nil, 1<<64-1, &kv.Update{Entry: &e, Err: kv.NameKey("b", key, lost)}),
		"lost entry": lineproto.AppendLost(nil, &e, lost),
	} {
		var r lineproto.Reply
		if n, err := lineproto.ParseReply(line, &r); err != nil || n != len(line) || r.Entry.Key != key {
			t.Errorf("%s: %d of %d bytes, %v", name, n, len(line), err)
		}
	}
}

func TestHotRepliesDoNotAllocate(t *testing.T) {
	var r lineproto.Reply
	for _, text := range []string{"+OK 123\r\n", "+ENTRY Key1 1 PUT 2026-11-22T18:00:00.123456789Z 6\r\nValue1\r\n", "-ERR KEY_NOT_FOUND : Key1\r\n"} {
		buf := []byte(text)
		if n := testing.AllocsPerRun(100, func() {
			if _, err := lineproto.ParseReply(buf, &r); err != nil {
				t.Fatal(err)
			}
			_ = r.Err("my-kv", "Key1")
		}); n != 0 {
			t.Errorf("parsing %q allocates %v times", text, n)
		}
	}
	dst := make([]byte, 0, 200)
	if n := testing.AllocsPerRun(100, func() { dst = lineproto.AppendEntry(dst[:0], &entry) }); n != 0 {
		t.Errorf("writing an entry allocates %v times", n)
	}
}

// crossInfo sends a status over the wire.
func crossInfo(t *testing.T, st kv.Status) kv.Status {
	t.Helper()
	line := lineproto.AppendInfo(nil, &st)
	if i := strings.Index(string(line), "\r\n"); i+2 > lineproto.MaxLine {
		t.Errorf("+INFO has %d bytes in its line", i+2)
	}
	var r lineproto.Reply
	n, err := lineproto.ParseReply(line, &r)
	if err != nil || n != len(line) {
		t.Fatalf("%q: size %d of %d, error %v", line, n, len(line), err)
	}
	got, err := r.Status()
	if err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	clear(line)
	return got
}

func TestStatusCrossesTheWire(t *testing.T) {
	full := kv.Status{
		Config: fullConfig().WithDefaults(), ID: 1<<64 - 1, Created: created, Keys: 2, Values: 3, Bytes: 4, Disk: 5, Revision: 6, Doubt: 1<<64 - 1, ClockLeap: 49*time.Hour + time.Millisecond, Stale: true,
		ReadOnly: fmt.Errorf("%w: bucket %q: %w", kv.ErrReadOnly, "b", &kv.CorruptError{File: "a file", Offset: -1, Detail: strings.Repeat("\"", 300)}),
	}
	for _, st := range []kv.Status{full, {Config: kv.Config{Bucket: "b"}.WithDefaults()}, {Config: kv.Config{Bucket: "b", Description: strings.Repeat("\"", kv.MaxDescriptionSize)}.WithDefaults()}} {
		got := crossInfo(t, st)
		if (got.ReadOnly == nil) != (st.ReadOnly == nil) || st.ReadOnly != nil && (got.ReadOnly.Error() != st.ReadOnly.Error() ||
			!errors.Is(got.ReadOnly, kv.ErrReadOnly) || !errors.Is(got.ReadOnly, kv.ErrCorrupt)) {
			t.Errorf("read-only for %v arrives as %v", st.ReadOnly, got.ReadOnly)
		}
		got.ReadOnly, st.ReadOnly = nil, nil
		if !reflect.DeepEqual(got, st) {
			t.Errorf("status\n%+v arrives as\n%+v", st, got)
		}
	}
}

func TestStatusesThatDoNotParse(t *testing.T) {
	for _, text := range []string{
		"+INFO b id=x\r\n", "+INFO b created=now\r\n", "+INFO b clock-leap=2d\r\n", "+INFO b clock-leap=-1s\r\n", "+INFO b history=x\r\n", "+INFO b storage=tape\r\n", "+INFO b 1\r\nx\r\n", "+INFO b 2\r\n[]\r\n",
	} {
		var r lineproto.Reply
		if _, err := lineproto.ParseReply([]byte(text), &r); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if st, err := r.Status(); !errors.Is(err, lineproto.ErrSyntax) {
			t.Errorf("%q: %+v, error %v", text, st, err)
		}
	}
}
