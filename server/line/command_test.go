package line

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"kvd/bucket"
	"kvd/kv"
	"kvd/server"
)

// session is a list of commands with every verb. At its end the store is empty again.
const session = `HELLO
ADD s history=3 description="two words" 27
{"metadata":{"owner":"me"}}
PUT s k1 2
v1
PUT s k2 4
a
b
PUT s empty 0

CREATE s k1 1
x
UPDATE s k1 1 2
v2
GET s k1
GET s k1 rev=1
TOUCH s k1
GET s nothing
PUT s a.* 3
bad
PUT s k1 color=red 3
bad
PUT s k1 ttl=0s 3
bad
PUT other k 2
no
DEL s k2 rev=9
DEL s k2
PURGE s empty
HISTORY s k1
KEYS s *,k1
COUNT s >
MGET s 10
k1 k2 none
MGET s 3
a.*
RANGE s > limit=1
RANGE s k1 3
k2 
RANGE s > after=k1 markers=yes meta=yes
CHILDREN s ""
EDIT s history=1
HISTORY s k1
PURGEDELETES s older=0s
TXN 2 3 1
IF s k1 is=exists not-rev=1
IF s none is=value 1
x
DEL s k1
PUT s k8 2
v8
GET s k1
PUT s k9 4
v
w
TXN 0 1 0 color=red
PUT s k9 1
x
TXN 0 2 0
PUT s k1 color=red 3
bad
GET s k1
TXN 0 0 0
GET s k1 stale=yes
LOST s
ACCEPT s
BUCKETS
UNWATCH 5
PING
RM s
QUIT
`

// TestEverySplitGivesTheSame sends a session in one piece, and then in two, cut at each
// byte. The server reads the pieces one by one.
func TestEverySplitGivesTheSame(t *testing.T) {
	r := servePipes(t, openStore(t), server.Options{})
	text := strings.ReplaceAll(session, "\n", "\r\n")
	converse := func(cuts ...int) string {
		p := r.dial()
		go func() {
			from := 0
			for _, cut := range append(cuts, len(text)) {
				cut = min(cut, len(text))
				_, _ = io.WriteString(p.conn, text[from:cut])
				from = cut
			}
		}()
		got, err := io.ReadAll(p.r)
		if err != nil {
			t.Fatal(err)
		}
		return string(got)
	}
	whole := converse()
	if !strings.Contains(whole, "+END") || strings.Count(whole, "-ERR") != 11 {
		t.Fatalf("the session went\n%s", whole)
	}
	for cut := 1; cut < len(text); cut++ {
		if got := converse(cut, cut+1+cut%7); got != whole {
			t.Fatalf("cut at %d it goes\n%s\nwhole it went\n%s", cut, got, whole)
		}
	}
}

func TestRepliesComeInOrder(t *testing.T) {
	r := serveTCP(t, openStore(t), server.Options{})
	p := r.dial()
	p.ask("ADD b history=64", "+OK")
	const n = 5000
	go func() {
		var text strings.Builder
		for i := range n {
			fmt.Fprintf(&text, "PUT b k%d %d\r\n%d\r\nGET b k%d\r\n", i%10, len(fmt.Sprint(i)), i, i%10)
			if i%100 == 0 {
				text.WriteString("PUT b bad.* 1\r\nx\r\n")
			}
		}
		_, _ = io.WriteString(p.conn, text.String())
	}()
	for i := range n {
		p.expect(fmt.Sprintf("+OK %d", i+1), fmt.Sprintf("+ENTRY k%d %d PUT 2026-11-22T18:00:00.123456789Z %d\n%d", i%10, i+1, len(fmt.Sprint(i)), i))
		if i%100 == 0 {
			p.expectPrefix("-ERR INVALID_KEY")
		}
	}
}

// TestBrokenInput sends input that does not parse. The server answers with one error and
// ends the connection.
func TestBrokenInput(t *testing.T) {
	r := serveTCP(t, openStore(t), server.Options{})
	p := r.dial()
	p.ask("ADD b", "+OK")
	for _, text := range []string{
		"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"POST /b HTTP/1.1\r\nContent-Length: 9\r\n\r\nPUT b k 1",
		"PUT /b HTTP/1.1\r\n\r\n",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"\x00", "\r\n", "\n", "get b k\r\n", "GET b\x00 k\r\n", "GET b k\x1f\r\n", "GET b\xc3\xa9 k\r\n",
		"GET b k\n", "GET b  k\r\n", "GET b k extra\r\n", "NOSUCH\r\n",
		"PUT b k 2\r\nabc\r\n", "PUT b k 5\r\nabc\r\nPING\r\n", "PUT b k -1\r\n", "PUT b k 100000000\r\n", "PUT b k 3\r\nabc\n",
		"PUT b k color=red 3\r\nabcd\r\n",
		strings.Repeat("k", 5000),
	} {
		t.Run(text[:min(len(text), 20)], func(t *testing.T) {
			p := r.dial()
			p.sendRaw("PING\r\n" + text)
			p.expect("+OK")
			for {
				reply := p.next()
				if strings.HasPrefix(reply, "-ERR SYNTAX : ") {
					break
				}
				if !strings.HasPrefix(reply, "-ERR INVALID_OPTION") {
					t.Fatalf("%q", reply)
				}
			}
			p.expectClosed()
		})
	}
	p.ask("COUNT b >", "+OK 0")
}

// TestABrokenWriteIsNotCarriedOut ends connections in the middle of a write.
func TestABrokenWriteIsNotCarriedOut(t *testing.T) {
	r := serveTCP(t, openStore(t), server.Options{})
	first := r.dial()
	first.ask("ADD b", "+OK")
	const put = "PUT b k 6\r\nValue1\r\n"
	for cut := range len(put) {
		p := r.dial()
		p.sendRaw("PING\r\n" + put[:cut])
		p.expect("+OK")
		p.conn.(*net.TCPConn).CloseWrite()
		p.expectClosed()
	}
	first.ask("COUNT b >", "+OK 0")
}

func TestPayloadsOfRefusedCommandsAreDropped(t *testing.T) {
	r := serveTCP(t, openStore(t), server.Options{})
	p := r.dial()
	p.ask("ADD b max-value-size=1000", "+OK")
	for _, tt := range []struct {
		command, reply string
		length         int
	}{
		{"PUT b k", "-ERR VALUE_TOO_LARGE what=\"value size\" got=1001 ", 1001},
		{"PUT b k", "-ERR VALUE_TOO_LARGE ", 200_000},
		{"PUT b k", "-ERR VALUE_TOO_LARGE ", 1 << 20},
		{"PUT b k", "-ERR VALUE_TOO_LARGE what=\"value size\" got=67108865 ", kv.MaxValueSizeLimit + 1},
		{"PUT other k", "-ERR BUCKET_NOT_FOUND ", 300_000},
		{"PUT b k id=77", "-ERR BUCKET_NOT_FOUND ", 300_000},
		{"PUT b k color=red", "-ERR INVALID_OPTION ", 300_000},
		{"ADD c", "-ERR INVALID_CONFIG ", 2 << 20},
	} {
		for _, crlf := range []string{"\r\n", "\r\nPING\r\n"} {
			go func() {
				_, _ = fmt.Fprintf(p.conn, "%s %d\r\n%s%s", tt.command, tt.length, bytes.Repeat([]byte("\n"), tt.length), crlf)
			}()
			p.expectPrefix(tt.reply)
			if crlf != "\r\n" {
				p.expect("+OK")
			}
		}
	}
	p.ask("PUT b k 1\nx", "+OK 1")
}

func TestADroppedPayloadMustEndInCRLF(t *testing.T) {
	r := serveTCP(t, openStore(t), server.Options{})
	p := r.dial()
	go func() { _, _ = fmt.Fprintf(p.conn, "PUT b k 300000\r\n%sPING\r\n", strings.Repeat("x", 300_000)) }()
	p.expectPrefix("-ERR BUCKET_NOT_FOUND")
	p.expectPrefix("-ERR SYNTAX")
	p.expectClosed()
}

func TestValuesOfEverySize(t *testing.T) {
	r := serveTCP(t, openStore(t), server.Options{})
	p := r.dial()
	p.ask("ADD b max-value-size=67108864", "+OK")
	const smallSize = 1 << 10 // of an idle connection's buffer
	sizes := []int{0, 1, smallSize - 30, smallSize, smallSize + 1, server.InputSize - 20, server.InputSize, server.InputSize + 1, 3*server.InputSize + 7, 1 << 20, kv.MaxValueSizeLimit}
	for i, size := range sizes {
		value := bytes.Repeat([]byte(fmt.Sprintf("%d\r\n", size)), size/3+1)[:size]
		go func() { _, _ = fmt.Fprintf(p.conn, "PUT b k %d\r\n%s\r\nGET b k\r\nPING\r\n", size, value) }()
		p.expect(fmt.Sprintf("+OK %d", i+1))
		head, err := p.r.ReadString('\n')
		if want := fmt.Sprintf("+ENTRY k %d PUT 2026-11-22T18:00:00.123456789Z %d\r\n", i+1, size); err != nil || head != want {
			t.Fatalf("head is %q, want %q, %v", head, want, err)
		}
		got := make([]byte, size+2)
		if _, err := io.ReadFull(p.r, got); err != nil || !bytes.Equal(got[:size], value) {
			t.Fatalf("a value of %d bytes came back as another, %v", size, err)
		}
		p.expect("+OK")
	}
}

// TestADamagedEntryCostsItselfAlone has a history with an entry that cannot be read.
func TestADamagedEntryCostsItselfAlone(t *testing.T) {
	s := newFakeStore()
	damage := &kv.CorruptError{File: "f", Offset: 7, Detail: "d"}
	s.bucket.history = func(yield func(kv.Entry, error) bool) {
		e := kv.Entry{Key: "k", Value: []byte("v"), Revision: 1, Created: instant, Operation: kv.Put, Delta: 2}
		if !yield(e, nil) {
			return
		}
		e.Revision, e.Delta = 2, 1
		if !yield(e, fmt.Errorf("get: %w", damage)) {
			return
		}
		e.Revision, e.Delta = 3, 0
		yield(e, nil)
	}
	p := servePipes(t, s, server.Options{}).dial()
	p.ask("HISTORY b k",
		"+ENTRY k 1 PUT 2026-11-22T18:00:00.123456789Z delta=2 1\nv",
		"+LOST k 2 PUT 2026-11-22T18:00:00.123456789Z delta=1 CORRUPT file=f offset=7 detail=d : get: corrupt: f at offset 7: d",
		"+ENTRY k 3 PUT 2026-11-22T18:00:00.123456789Z 1\nv",
		"+END 3")
	s.bucket.history = func(yield func(kv.Entry, error) bool) { yield(kv.Entry{}, errors.New("no such luck")) }
	p.ask("HISTORY b k", "-ERR INTERNAL : no such luck")
}

// countingStore records the number of mutations of each Submit.
type countingStore struct {
	*bucket.Store
	submits []int
}

func (s *countingStore) Submit(ctx context.Context, ms []kv.Mutation) error {
	s.submits = append(s.submits, len(ms))
	return s.Store.Submit(ctx, ms)
}

// TestWritesThatFollowEachOtherAreOneSubmit checks that the writes of a pipeline reach
// the store in one call, so that they fill a commit group.
func TestWritesThatFollowEachOtherAreOneSubmit(t *testing.T) {
	s := &countingStore{Store: openStore(t)}
	p := servePipes(t, s, server.Options{}).dial()
	p.ask("ADD b history=64", "+OK")
	p.send(strings.Repeat("PUT b k 1\nx\n", 20) + "DEL b k\nTOUCH b k\nGET b k\nPUT b k 1\ny\nPUT b k 1\nz\nCREATE b k2 0\n\n")
	for i := range 21 {
		p.expect(fmt.Sprintf("+OK %d", i+1))
	}
	p.expect("-ERR KEY_NOT_FOUND : k", "-ERR KEY_NOT_FOUND : k", "+OK 22", "+OK 23", "+OK 24")
	p.ask("PUT b k 1\nx", "+OK 25")
	if fmt.Sprint(s.submits) != "[22 3 1]" {
		t.Errorf("Submit was called with %v mutations", s.submits)
	}
}

// noSubmit hides a store's Submit.
type noSubmit struct{ kv.Store }

func TestAStoreNeedNotHaveSubmit(t *testing.T) {
	p := servePipes(t, noSubmit{openStore(t)}, server.Options{}).dial()
	p.send("HELLO\nADD b history=9\nPUT b k 1\nx\nCREATE b k 1\ny\nUPDATE b k 1 1\nz\nTOUCH b k\nDEL b k rev=3\nPURGE b k rev=3\nPURGE b k\nPUT b k ttl=1m 1\nx\nPURGE b k ttl=1m\n")
	p.expectPrefix("+HELLO 1 server=kvd store=00000000000000000000000000000000 ")
	p.expect("+OK", "+OK 1", "-ERR KEY_EXISTS actual=1 : k is at revision 1", "+OK 2", "+OK 3", "+OK 4",
		"-ERR REVISION_MISMATCH actual=4 expected=3 : k is at revision 4, expected 3", "+OK 5")
	p.expect("+OK 6", "+OK 7")
}

func TestAnIDNamesOneLifeOfABucket(t *testing.T) {
	store := openStore(t)
	p := servePipes(t, store, server.Options{}).dial()
	p.ask("ADD b", "+OK")
	first := idOf(t, store, "b")
	p.ask(fmt.Sprintf("PUT b k id=%d 1\nx", first), "+OK 1")
	p.ask("RM b", "+OK")
	p.ask("ADD b", "+OK")
	second := idOf(t, store, "b")
	if first == second {
		t.Fatalf("two lives have the id %d", first)
	}
	var commands string
	for _, id := range []uint64{first, second} {
		commands += fmt.Sprintf("PUT b k id=%[1]d 1\nx\nGET b k id=%[1]d\nHISTORY b k id=%[1]d\nINFO b id=%[1]d\n", id)
	}
	p.send(commands + fmt.Sprintf("RM b id=%d\nCOUNT b > id=%d\n", first, second))
	gone := fmt.Sprintf(`-ERR BUCKET_NOT_FOUND : "b" with id %d; the one of that name has id %d`, first, second)
	const entry = "+ENTRY k 1 PUT 2026-11-22T18:00:00.123456789Z 1\nx"
	p.expect(gone, gone, gone, gone, "+OK 1", entry, entry, "+END 1")
	p.expectPrefix(fmt.Sprintf("+INFO b id=%d ", second))
	p.expect(gone, "+OK 1")
}

// idOf returns the id of a bucket.
func idOf(t *testing.T, s kv.Store, name string) uint64 {
	t.Helper()
	b, err := s.Bucket(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	st, err := b.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st.ID
}

// TestManyBuckets uses more buckets than a connection remembers.
func TestManyBuckets(t *testing.T) {
	p := servePipes(t, openStore(t), server.Options{}).dial()
	for i := range 150 {
		p.ask(fmt.Sprintf("ADD b%03d", i), "+OK")
	}
	for i := range 300 {
		p.ask(fmt.Sprintf("PUT b%03d k 1\nx", i%150), fmt.Sprintf("+OK %d", i/150+1))
	}
	p.send("BUCKETS\n")
	for i := range 150 {
		p.expect(fmt.Sprintf("+BUCKET b%03d", i))
	}
	p.expect("+END 150")
	p.send("BUCKETS status=yes\n")
	for i := range 150 {
		p.expectPrefix(fmt.Sprintf("+INFO b%03d id=", i))
	}
	p.expect("+END 150")
}
