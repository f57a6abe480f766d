package line

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"kvd/backup"
	"kvd/bucket"
	storecut "kvd/bucket/cut"
	"kvd/internal/lineproto"
	"kvd/kv"
	"kvd/server"
)

// takeRaw gives a BACKUP command and returns what the parts are together, and the last reply.
func (p *peer) takeRaw(command string) (archive []byte, end lineproto.Reply) {
	p.t.Helper()
	p.send(command + "\n")
	for size := 1; ; {
		buf, err := p.r.Peek(size)
		if err != nil {
			p.t.Fatal(err)
		}
		var r lineproto.Reply
		n, err := lineproto.ParseReply(buf, &r)
		switch {
		case errors.Is(err, lineproto.ErrIncomplete):
			size = max(n, size+1)
			continue
		case err != nil:
			p.t.Fatal(err)
		}
		if r.Kind != lineproto.ReplyData {
			_, _ = p.r.Discard(n)
			return archive, r
		}
		archive = append(archive, r.Entry.Value...)
		_, _ = p.r.Discard(n)
		size = 1
	}
}

func TestBackupOverALine(t *testing.T) {
	s := openStore(t)
	taken := 0
	r := serveTCP(t, backup.Of(s, s, func(storecut.Report) { taken++ }), server.Options{})
	p := r.dial()
	p.ask("ADD a", "+OK")
	p.ask("ADD b", "+OK")
	for i := range 50 {
		p.ask(fmt.Sprintf("PUT a k%d 5000\n%s", i, strings.Repeat(fmt.Sprint(i%10), 5000)), fmt.Sprintf("+OK %d", i+1))
	}
	archive, end := p.takeRaw("BACKUP *")
	if end.Kind != lineproto.ReplyEnd || end.Number != uint64(len(archive)) || end.Taken.SHA256 != sha256.Sum256(archive) || end.Taken.LSN == 0 || taken != 1 {
		t.Fatalf("%d bytes, then %+v", len(archive), end)
	}
	v, err := backup.Verify(t.Context(), "archive", bytes.NewReader(archive), nil)
	if err != nil || len(v.Content.Buckets) != 2 || uint64(v.Content.LSN) != end.Taken.LSN {
		t.Fatalf("%+v, %v", v, err)
	}
	archive, _ = p.takeRaw("BACKUP b rate=1000000000")
	v, err = backup.Verify(t.Context(), "archive", bytes.NewReader(archive), nil)
	if err != nil || len(v.Content.Buckets) != 1 || v.Content.Buckets[0].Config.Bucket != "b" {
		t.Fatalf("%+v, %v", v, err)
	}
	p.ask("BACKUP c", `-ERR BUCKET_NOT_FOUND : "c"`)
	p.ask("BACKUP a rate=0", `-ERR INVALID_OPTION : rate cannot be "0"`)
	p.ask("PING", "+OK")
	p.send("BACKUP a,,b\n")
	p.expectPrefix("-ERR SYNTAX")
	p.expectClosed()
}

// A backup that fails ends in an error, and what came before is nothing.
func TestABackupThatFails(t *testing.T) {
	s := openStore(t)
	r := serveTCP(t, backup.Of(s, failing{}, nil), server.Options{})
	p := r.dial()
	if _, end := p.takeRaw("BACKUP *"); end.Kind != lineproto.ReplyError || !errors.Is(end.Err("", ""), kv.ErrClosed) {
		t.Errorf("the last reply is %+v", end)
	}
	p = serveTCP(t, s, server.Options{}).dial()
	p.ask("BACKUP *", "-ERR NOT_SUPPORTED : BACKUP")
}

// failing is a source that fails after its first file.
type failing struct{}

func (failing) Backup(_ context.Context, _ bucket.BackupOptions, sink storecut.Sink) (storecut.Report, error) {
	c := &storecut.Content{Time: time.Unix(1, 0), Manifest: make([]byte, 200_000)}
	if err := sink.Begin(c); err != nil {
		return storecut.Report{}, err
	}
	if err := sink.File(storecut.File{Size: 3}, io.LimitReader(strings.NewReader("abc"), 3)); err != nil {
		return storecut.Report{}, err
	}
	return storecut.Report{}, kv.ErrClosed
}

// A backup needs admin and get in each of its buckets, and in every bucket if it is of all.
func TestPermissionsOfBackups(t *testing.T) {
	s := openStore(t)
	for _, name := range []string{"a", "b"} {
		if _, err := s.CreateBucket(t.Context(), kv.Config{Bucket: name}); err != nil {
			t.Fatal(err)
		}
	}
	r := serveTCP(t, backup.Of(s, s, nil), server.Options{Users: users(t, "one a=admin,get", "root *=all", "keys a=admin a/x.>=get", "many a*=admin,get b=admin")})
	for user, commands := range map[string]map[string]bool{
		"one":  {"BACKUP a": true, "BACKUP b": false, "BACKUP a,b": false, "BACKUP *": false},
		"root": {"BACKUP a": true, "BACKUP a,b": true, "BACKUP *": true},
		"keys": {"BACKUP a": false},
		"many": {"BACKUP a": true, "BACKUP b": false, "BACKUP *": false},
	} {
		p := r.dial()
		p.ask("AUTH "+user+" "+backwards(user), "+OK")
		for command, may := range commands {
			archive, end := p.takeRaw(command)
			if denied := end.Kind == lineproto.ReplyError && errors.Is(end.Err("", ""), lineproto.ErrDenied); denied == may || denied && len(archive) > 0 {
				t.Errorf("%s may %s: %+v, %d bytes", user, command, end, len(archive))
			}
		}
	}
}
