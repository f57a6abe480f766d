package line

import (
	"strings"
	"testing"
	"time"

	"kvd/bucket"
	"kvd/internal/damage"
	"kvd/internal/environment"
	"kvd/internal/vfs/simdisk"
	"kvd/server"
)

// openDoubted opens a store with a bucket b of history 2, in which records up to revision
// 4 are missing. Above is one value of key "new".
func openDoubted(t *testing.T, opts bucket.Options) *bucket.Store {
	t.Helper()
	disk := simdisk.New()
	open := func() *bucket.Store {
		t.Helper()
		opts.ReserveSize, opts.LogFileSize = -1, 1<<20
		s, err := bucket.Open("store", environment.With(opts, environment.Env{
			FS: disk, Manual: true, Now: func() time.Time { return instant },
		}))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	if err := damage.Fill(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := damage.Doubt(disk, "store", "b", damage.Example()); err != nil {
		t.Fatal(err)
	}
	s = open()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

const (
	missingError = `-ERR CORRUPT file=seg/00000000000000ff.seg offset=4096 detail="bucket \"b\": 2 records are missing above revision 2 up to 4" bucket=b after=2 upto=4 : seg/`
	created      = " PUT 2026-11-22T18:00:00.123456789Z "
)

// TestReadsOfWhatIsInDoubt sends each read with and without stale=yes.
func TestReadsOfWhatIsInDoubt(t *testing.T) {
	p := serveTCP(t, openDoubted(t, bucket.Options{}), server.Options{}).dial()
	for _, tt := range []struct {
		command string
		stale   []string
	}{
		{"GET b old", []string{"+ENTRY old 3" + created + "1\nv"}},
		{"GET b absent", []string{"-ERR KEY_NOT_FOUND : absent"}},
		{"GET b old rev=4", []string{"-ERR KEY_NOT_FOUND : old"}},
		{"HISTORY b old", []string{"+ENTRY old 2" + created + "delta=1 1\nv", "+ENTRY old 3" + created + "1\nv", "+END 2"}},
		{"KEYS b >", []string{"+KEY k", "+KEY lost", "+KEY new", "+KEY old", "+END 4"}},
		{"COUNT b >", []string{"+OK 4"}},
		{"COUNT b old,new", []string{"+OK 2"}},
		{"WATCH 1 b old", []string{"+OK", "EVENT 1 old 3" + created + "0 1\nv", "SYNCED 1"}},
	} {
		p.send(tt.command + "\n")
		p.expectPrefix(missingError)
		p.ask(tt.command+" stale=yes", tt.stale...)
	}
	p.ask("UNWATCH 1", "+OK")
	for _, command := range []string{"CREATE b absent 1\nx", "UPDATE b old 3 1\nx", "DEL b old rev=3"} {
		p.send(command + "\n")
		p.expectPrefix(missingError)
	}
	p.send("DEL b old rev=3 stale=yes\n") // no condition judges stale state
	p.expectPrefix("-ERR INVALID_OPTION")
	p.ask("GET b new", "+ENTRY new 5"+created+"1\nv")
	p.ask("GET b old rev=3", "+ENTRY old 3"+created+"1\nv")
	p.ask("PUT b old 1\nx", "+OK 6")
	p.ask("GET b old", "+ENTRY old 6"+created+"1\nx")
}

func TestTheErrorOfDoubtNamesTheWaysOut(t *testing.T) {
	p := serveTCP(t, openDoubted(t, bucket.Options{}), server.Options{}).dial()
	p.send("GET b old\n")
	reply := p.next()
	for _, way := range []string{"--stale", "kvd serve --serve-stale b", "kvd accept b", "kvd lost b"} {
		if !strings.Contains(reply, way) {
			t.Errorf("%q does not name %q", reply, way)
		}
	}
}

func TestLostAndAccept(t *testing.T) {
	p := serveTCP(t, openDoubted(t, bucket.Options{}), server.Options{}).dial()
	missing := []string{"+DOUBT 4", "+MISSING 2 4 records=2 file=seg/00000000000000ff.seg offset=4096", "+LOSTRECORD lost 1", "+END 3"}
	p.ask("LOST b", missing...)
	p.send("INFO b\n")
	if info := p.next(); !strings.Contains(info, " doubt=4 ") {
		t.Errorf("%q", info)
	}
	p.send("LOST b id=9999\n")
	p.expectPrefix("-ERR BUCKET_NOT_FOUND")
	p.send("ACCEPT nosuch\n")
	p.expectPrefix("-ERR BUCKET_NOT_FOUND")
	p.ask("ACCEPT b", missing...)
	p.ask("GET b old", "+ENTRY old 3"+created+"1\nv")
	p.ask("COUNT b >", "+OK 4")
	p.ask("ACCEPT b", "+DOUBT 0", "+END 1")
	p.ask("LOST b", "+DOUBT 0", "+LOSTRECORD lost 1", "+END 2") // that stays until the key is written
	p.send("INFO b\n")
	if info := p.next(); strings.Contains(info, "doubt") {
		t.Errorf("%q", info)
	}
}

// A store that serves a bucket in spite of its doubt still tells of it.
func TestServeStale(t *testing.T) {
	p := serveTCP(t, openDoubted(t, bucket.Options{ServeStale: []string{"b"}}), server.Options{}).dial()
	p.send("INFO b\n")
	if info := p.next(); !strings.Contains(info, " doubt=4 stale=yes ") {
		t.Errorf("%q", info)
	}
	p.ask("COUNT b >", "+OK 4")
	p.ask("GET b absent", "-ERR KEY_NOT_FOUND : absent")
	p.ask("UPDATE b old 3 1\nx", "+OK 6")
	p.send("LOST b\n")
	p.expect("+DOUBT 4")
}

func TestAStoreWithoutDoubtDoesNotTellOfIt(t *testing.T) {
	p := serveTCP(t, newFakeStore(), server.Options{}).dial()
	p.ask("LOST b", "-ERR NOT_SUPPORTED : LOST")
	p.ask("ACCEPT b", "-ERR NOT_SUPPORTED : ACCEPT")
}
