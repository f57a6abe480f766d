package line

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"kvd/kv"
	"kvd/server"
)

func TestTransactionsOnTheWire(t *testing.T) {
	r := serveTCP(t, openStore(t), server.Options{})
	p := r.dial()
	const at = "2026-11-22T18:00:00.123456789Z"
	p.ask("ADD b history=5", "+OK")
	p.ask("ADD c", "+OK")
	p.ask("TXN 2 4 0\nIF b k is=absent rev=0\nIFNEWEST c 0\nGET b k\nCREATE b k 1\nx\nPUT c l 0\n\nGET c none",
		"+TXN then 4 2", "+ENTRY k 1 PUT "+at+" 1\nx", "+OK 1", "+OK 1", "+NONE none", "+AT b 1", "+AT c 1")
	for _, c := range []struct{ text, want string }{
		{"TXN 0 2 0\nPUT b k 1\ny\nUPDATE b k 7 1\nz", "-ERR REVISION_MISMATCH op=2 actual=1 expected=7 : k is at revision 1, expected 7"},
		{"TXN 0 1 1\nGET b k\nPUT none k 0\n", `-ERR BUCKET_NOT_FOUND op=2 : "none"`},
		{"TXN 1 0 0\nIF b k", "-ERR INVALID_OPTION op=1 : a test is missing"},
		{"TXN 1 0 0\nIF b k is=absent 1\nx", "-ERR INVALID_OPTION op=1 : only is=value"},
		{"TXN 1 0 0\nIF b k is=value", "-ERR INVALID_OPTION op=1 : is=value and is=not-value need"},
		{"TXN 0 1 0 color=red\nPUT b k 0\n", `-ERR INVALID_OPTION : TXN has no option "color"`},
		{"TXN 0 1 0\nTOUCH b k", "-ERR NOT_SUPPORTED op=1 : "},
		{"TXN 0 1 0\nGET b k rev=1", "-ERR INVALID_OPTION op=1 : "},
		{"TXN 0 1 0\nPUT _kvd_x k 0\n", "-ERR INVALID_BUCKET_NAME op=1 "},
		{"TXN 0 1 0\nPUT b k id=77 0\n", "-ERR BUCKET_NOT_FOUND op=1 : "},
		{"TXN 1 1 0\nIF b k is=exists id=77\nPUT b k 0\n", "-ERR BUCKET_NOT_FOUND op=1 : "},
	} {
		p.send(c.text + "\n")
		p.expectPrefix(c.want)
		p.ask("GET b k", "+ENTRY k 1 PUT "+at+" 1\nx") // nothing was written, and the connection goes on
	}
	for text, want := range map[string]string{
		"TXN 0 1 0\nPING":             "-ERR SYNTAX : line 1 of a transaction cannot be PING",
		"TXN 1 0 0\nGET b k":          "-ERR SYNTAX : line 1 of a transaction cannot be GET",
		"TXN 0 1 0\nIF b k is=exists": "-ERR SYNTAX : line 1 of a transaction cannot be IF",
		"IF b k is=exists":            "-ERR SYNTAX : IF belongs to a transaction: TXN comes first",
		"TXN 1025 0 0":                "-ERR TXN_TOO_LARGE what=\"number of conditions\" got=1025 min=0 max=1024 : ",
		"TXN 0 18446744073709551615 18446744073709551615": "-ERR TXN_TOO_LARGE ",
	} {
		p := r.dial()
		p.send("PUT b other 0\n\n" + text + "\n")
		p.expectPrefix("+OK ")
		p.expectPrefix(want)
		p.expectClosed()
	}
}

func TestPermissionsOfTransactions(t *testing.T) {
	r := serveTCP(t, openStore(t), server.Options{Users: users(t, "root *=get,put,del,admin", "alice b=get,put c=get")})
	root := r.dial()
	root.ask("AUTH root toor", "+OK")
	root.ask("ADD b", "+OK")
	root.ask("ADD c", "+OK")
	p := r.dial()
	p.ask("AUTH alice ecila", "+OK")
	p.ask("TXN 1 2 0\nIF c k is=absent\nPUT b k 0\n\nGET c k", "+TXN then 2 2", "+OK 1", "+NONE k", "+AT b 1", "+AT c 0")
	for i, text := range []string{
		"TXN 0 1 1\nPUT b k 0\n\nPUT c k 0\n",
		"TXN 0 2 0\nPUT b k 0\n\nDEL b k",
		"TXN 2 0 0\nIF b k is=exists\nIFNEWEST other 0",
	} {
		p.send(text + "\n")
		p.expectPrefix(fmt.Sprintf("-ERR DENIED op=%d : needs ", 2))
		if i == 0 {
			p.ask("GET b k", "+ENTRY k 1 PUT 2026-11-22T18:00:00.123456789Z 0\n")
		}
	}
}

// The lines of a transaction have to come in time, all together.
func TestATransactionThatDoesNotEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := servePipes(t, openStore(t), server.Options{})
		p := r.dial()
		p.ask("ADD b", "+OK")
		began := time.Now()
		p.send("TXN 0 3 0\n")
		for range 2 {
			<-time.After(4 * time.Second)
			p.send("GET b k\n")
		}
		p.expectPrefix("-ERR TIMEOUT ")
		p.expectClosed()
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("it ended after %v", took)
		}
	})
}

// What unfinished transactions hold is bounded, and is released when they end.
func TestTheMemoryOfTransactions(t *testing.T) {
	protocol := New(openStore(t), "kvd")
	fill := func(n int64) *openTxn {
		t.Helper()
		o := &openTxn{memory: &protocol.txnMemory}
		for ; n > 0; n -= 1 << 20 {
			if err := o.hold(1<<20 - txnLineCost); err != nil {
				t.Fatal(err)
			}
		}
		return o
	}
	parts := []*openTxn{fill(txnMax), fill(txnMemory - txnMax)}
	more := &openTxn{memory: &protocol.txnMemory}
	if err := more.hold(1); err == nil || !strings.Contains(err.Error(), "too many bytes") {
		t.Errorf("one byte more: %v", err)
	}
	if err := parts[0].hold(1); !errors.Is(err, kv.ErrTxnTooLarge) {
		t.Errorf("more than a transaction may hold: %v", err)
	}
	for _, o := range parts {
		o.release()
	}
	if n := protocol.txnMemory.Load(); n != 0 {
		t.Errorf("%d bytes are held by nothing", n)
	}
	fill(txnMax).release()
}
