package bucket

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"kvd/kv"
)

// A disk that is full and has room in turn, hundreds of times, is logged once a minute, and
// the last message is right in the end.
func TestAFullDiskIsLoggedOnceAMinute(t *testing.T) {
	var log bytes.Buffer
	a := newAging(t, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	b := a.bucket("b")
	mustPut(t, b, "k", strings.Repeat("v", 1000))
	used := a.disk.Used()
	fill := func() {
		t.Helper()
		a.disk.SetCapacity(a.disk.Used())
		for range 2000 {
			if _, err := b.PutString(ctx, "k", strings.Repeat("v", 5000)); err != nil {
				wantError(t, err, kv.ErrNoSpace, "the file system of "+testDir, "free some there")
				return
			}
		}
		t.Fatal("the disk is not full")
	}
	room := func() {
		t.Helper()
		a.disk.SetCapacity(1 << 40)
		mustPut(t, b, "k", strings.Repeat("v", 5000))
	}
	want := func(full, again int) {
		t.Helper()
		if n, m := strings.Count(log.String(), "disk full"), strings.Count(log.String(), "room on the disk again"); n != full || m != again {
			t.Fatalf("%d messages that the disk is full and %d of room, want %d and %d:\n%s", n, m, full, again, log.String())
		}
	}
	want(0, 0)
	for range 50 {
		fill()
		room()
		a.clock.advance(time.Second)
	}
	want(1, 0)
	a.clock.advance(10 * time.Second)
	room()
	want(1, 1)
	fill()
	want(1, 1)
	a.clock.advance(time.Minute)
	fill()
	want(2, 1)
	if a.disk.Used() < used {
		t.Error("nothing was written")
	}
}
