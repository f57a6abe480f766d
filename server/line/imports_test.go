package line

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"kvd/kv"
	"kvd/kv/digest"
	"kvd/kv/records"
	"kvd/server"
)

// recordLines returns puts as the payload of RECORDS, with their digest.
func recordLines(t testing.TB, from, n, size int) (lines string, sum kv.Digest) {
	t.Helper()
	var b []byte
	for r := from; r < from+n; r++ {
		e := kv.Entry{Key: fmt.Sprintf("key.%d", r), Revision: kv.Revision(r), Created: instant.AddDate(-1, 0, 0), Operation: kv.Put, Value: []byte(strings.Repeat("v", size))}
		var err error
		if b, err = records.Append(b, &e); err != nil {
			t.Fatal(err)
		}
		sum = sum.Add(digest.OfEntry(&e))
	}
	return string(b), sum
}

// sendRecords sends a RECORDS with that payload as it is.
func (p *peer) sendRecords(number int, payload string) {
	p.t.Helper()
	p.sendRaw(fmt.Sprintf("RECORDS %d %d\r\n%s\r\n", number, len(payload), payload))
}

func TestAnImport(t *testing.T) {
	p := serveTCP(t, openStore(t), server.Options{}).dial()
	one, sum := recordLines(t, 1, 3, 10)
	two, more := recordLines(t, 4, 1, 5<<20) // one record may be larger than the limit
	p.ask("IMPORT 7 b max-value-size=10000000 description=\"two words\"", "+OK")
	p.sendRecords(7, one)
	p.expect("+OK 3")
	p.sendRecords(7, "")
	p.expect("+OK 0")
	p.sendRecords(7, two)
	p.expect("+OK 1")
	p.ask("COMMIT 7 digest="+sum.Add(more).String(), "+OK")
	p.ask("COUNT b >", "+OK 4")
	p.ask("PUT b k 1\nx", "+OK 5")
	p.ask("COMMIT 7 digest="+sum.String(), "-ERR INVALID_OPTION : no import has the number 7")
	p.ask("DISCARD 7", "+OK")
}

func TestImportsThatAreRefused(t *testing.T) {
	p := serveTCP(t, openStore(t), server.Options{}).dial()
	for command, want := range map[string]string{
		"IMPORT 1 b next=x":           "-ERR INVALID_CONFIG : next cannot be",
		"IMPORT 1 b history=99":       "-ERR HISTORY_TOO_LARGE",
		"IMPORT 1 b edit=yes":         "-ERR INVALID_OPTION",
		"IMPORT 1 _kvd_b":             "-ERR INVALID_BUCKET_NAME",
		"COMMIT 1":                    "-ERR INVALID_OPTION : the digest is missing",
		"COMMIT 1 digest=abc":         "-ERR INVALID_OPTION : digest cannot be",
		"RECORDS 1 2\n{}":             "-ERR INVALID_OPTION : no import has the number 1",
		"RECORDS 1 3 9\n{}":           "-ERR SYNTAX",
		"IMPORT 18446744073709551616": "-ERR SYNTAX",
	} {
		q := p
		if strings.Contains(want, "SYNTAX") {
			q = serveTCP(t, openStore(t), server.Options{}).dial()
		}
		q.send(command + "\n")
		q.expectPrefix(want)
	}
	// An unknown number is refused before the payload has arrived.
	p.sendRaw("RECORDS 9 1000000\r\n")
	p.expectPrefix("-ERR INVALID_OPTION : no import has the number 9")
	p.sendRaw(strings.Repeat("x", 1_000_000) + "\r\n")
	for n := range importsMax {
		p.ask(fmt.Sprintf("IMPORT %d b", n), "+OK")
	}
	p.send("IMPORT 99 b\n")
	p.expectPrefix("-ERR TOO_MANY : too many imports")
	p.send("IMPORT 3 b\n")
	p.expectPrefix("-ERR INVALID_OPTION : an import has the number 3")
	p.ask("DISCARD 3", "+OK")
	p.ask("IMPORT 99 b", "+OK")
}

// None of the records of a command is written if one is refused.
func TestRecordsThatAreRefused(t *testing.T) {
	p := serveTCP(t, openStore(t), server.Options{}).dial()
	p.ask("IMPORT 1 b", "+OK")
	good, sum := recordLines(t, 5, 1, 1)
	p.sendRecords(1, good)
	p.expect("+OK 1")
	later, _ := recordLines(t, 6, 1, 1)
	for bad, want := range map[string]string{
		"{}":   "-ERR INVALID_RECORD",
		"\n":   "-ERR INVALID_RECORD",
		"\xff": "-ERR INVALID_RECORD",
		good:   `-ERR INVALID_RECORD : key "key.5": record of revision 5`,
		`{"bucket":"other","key":"k","rev":9,"op":"put","created":"2026-01-01T00:00:00Z","value":""}`: `-ERR INVALID_RECORD : key "k", revision 9 is of bucket "other", not "b"`,
		`{"key":"a b","rev":9,"op":"put","created":"2026-01-01T00:00:00Z","value":""}`:                `-ERR INVALID_KEY name="a b" at=1`,
		`{"key":"k","rev":9,"op":"put","created":"2027-01-01T00:00:00Z","value":""}`:                  `-ERR INVALID_RECORD : key "k": record of revision 9`,
		`{"key":"k","rev":9,"op":"put","created":"2026-01-01T00:00:00Z","value":"","colour":"red"}`:   "-ERR INVALID_RECORD",
	} {
		p.sendRecords(1, later+bad)
		p.expectPrefix(want)
	}
	many, _ := recordLines(t, 6, 5, 1<<20)
	p.sendRecords(1, many)
	p.expectPrefix(`-ERR INVALID_RECORD what="size of the records of a command"`)
	p.ask("COMMIT 1 digest="+sum.String(), "+OK")
	p.ask("COUNT b >", "+OK 1")
}

// The user of a connection needs admin in the bucket of an import, and put in all its keys. Each
// command is checked for the user who is logged in then.
func TestWhoMayImport(t *testing.T) {
	store := openStore(t)
	r := servePipes(t, store, server.Options{Users: users(t, "both b=admin,put", "admin b=admin", "put b=put", "some b=admin b/k.*=put")})
	login := func(p *peer, name string) { p.ask("AUTH "+name+" "+backwards(name), "+OK") }
	for _, name := range []string{"admin", "put", "some"} {
		p := r.dial()
		login(p, name)
		p.send("IMPORT 1 b\n")
		p.expectPrefix("-ERR DENIED : needs ")
	}
	p := r.dial()
	login(p, "both")
	p.send("IMPORT 1 c\n")
	p.expectPrefix("-ERR DENIED : needs ")
	p.ask("IMPORT 1 b", "+OK")
	lines, sum := recordLines(t, 1, 1, 1)
	login(p, "admin")
	p.sendRecords(1, lines)
	p.expectPrefix("-ERR DENIED : needs ")
	p.send("COMMIT 1 digest=" + sum.String() + "\n")
	p.expectPrefix("-ERR DENIED : needs ")
	login(p, "both")
	p.sendRecords(1, lines)
	p.expect("+OK 1")
	p.ask("COMMIT 1 digest="+sum.String(), "+OK")
}

// discards is a store that tells of the imports that are discarded.
type discards struct {
	kv.Store
	discarded chan string
}

func (d *discards) ImportBucket(_ context.Context, cfg kv.Config, _ kv.Revision) (kv.Importer, error) {
	return &discardedImport{cfg.Bucket, d}, nil
}

type discardedImport struct {
	bucket string
	store  *discards
}

func (i *discardedImport) Write(context.Context, []kv.Entry) error { return nil }
func (i *discardedImport) Commit(context.Context, kv.Digest) error { return nil }
func (i *discardedImport) Discard(ctx context.Context) error {
	i.store.discarded <- i.bucket
	return ctx.Err()
}

// The end of a connection discards the imports that it has not committed.
func TestTheEndOfAConnectionDiscardsItsImports(t *testing.T) {
	store := &discards{Store: newFakeStore(), discarded: make(chan string, 10)}
	for name, end := range map[string]func(*peer, *rig){
		"the client hangs up":   func(p *peer, _ *rig) { _ = p.conn.Close() },
		"the client quits":      func(p *peer, _ *rig) { p.ask("QUIT", "+OK") },
		"the server shuts down": func(_ *peer, r *rig) { _ = r.server.Shutdown(t.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			r := serveTCP(t, store, server.Options{})
			p := r.dial()
			p.ask("IMPORT 1 left", "+OK")
			p.ask("IMPORT 2 committed", "+OK")
			p.ask("COMMIT 2 digest="+kv.Digest{}.String(), "+OK")
			end(p, r)
			if got := <-store.discarded; got != "left" || len(store.discarded) > 0 {
				t.Errorf("%q is discarded, and %d others", got, len(store.discarded))
			}
		})
	}
}

// A command with many records leaves little memory behind.
func TestAnIdleImportKeepsLittle(t *testing.T) {
	var i imports
	for n, kept := range map[int]int{entriesKept: entriesKept, entriesKept + 1: 0} {
		if i.keep(make([]kv.Entry, n)); cap(i.entries) != kept || len(i.entries) != 0 {
			t.Errorf("%d of %d entries are kept", cap(i.entries), n)
		}
	}
}

func TestAStoreWithoutImports(t *testing.T) {
	p := serveTCP(t, newFakeStore(), server.Options{}).dial()
	p.ask("IMPORT 1 b", "-ERR NOT_SUPPORTED : IMPORT")
}
