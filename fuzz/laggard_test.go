package fuzz

import (
	"errors"
	"strings"
	"testing"
	"time"

	"kvd/bucket"
	"kvd/bucket/manifest"
	"kvd/internal/environment"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
	"kvd/segment"
)

// A watch that has to read the log finds a record hidden by damage, or by a compaction that
// copied around it. It ends with an error and delivers nothing from behind the gap: to its
// client a gap means that nothing was there.
func TestLaggardsNeverPassLostRevisions(t *testing.T) {
	for _, reclaims := range []bool{false, true} {
		disk := simdisk.New()
		s, err := bucket.Open("store", environment.With(bucket.Options{LogFileSize: 64 << 10, ReserveSize: -1}, environment.Env{
			FS: disk, Manual: true, Now: func() time.Time { return time.Unix(1, 0) },
		}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		b, err := s.CreateBucket(t.Context(), kv.Config{Bucket: "b"})
		if err != nil {
			t.Fatal(err)
		}
		put := func(key, value string) kv.Revision {
			t.Helper()
			rev, err := b.Put(t.Context(), key, []byte(value))
			if err == nil {
				err = s.Checkpoint(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
			return rev
		}
		w, err := b.Watch(t.Context(), nil, kv.UpdatesOnly())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = w.Stop() })
		put("large", strings.Repeat("x", 300<<10)) // not kept in memory for watches
		from := lastSegment(t, disk)
		hidden := put("hidden", "1")
		to := lastSegment(t, disk)
		put("hidden", "2")
		for range 8 { // the segments before this one are full
			put("large", strings.Repeat("y", 300<<10))
		}
		file := "store/" + manifest.SegmentDir + "/" + segment.FileName(from.Number)
		if err := disk.Corrupt(file, from.Size, to.Size-from.Size, func(b []byte) { clear(b) }); err != nil || from.Number != to.Number {
			t.Fatalf("segments %+v and %+v, %v", from, to, err)
		}
		if reclaims {
			if _, err := s.Reclaim(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			if _, err := disk.Stat(file); err == nil {
				t.Fatal("the damaged segment was not compacted")
			}
		}
		var last kv.Revision
		for more := true; more && err == nil; {
			more, err = w.(kv.Poller).Poll(func(u kv.Update) bool {
				last = u.Entry.Revision
				return true
			})
		}
		if !errors.Is(err, kv.ErrCorrupt) || last >= hidden {
			t.Errorf("reclaims=%t: the watch got to revision %d, %d is hidden: %v", reclaims, last, hidden, err)
		}
	}
}

// lastSegment returns the last segment of the only bucket.
func lastSegment(t *testing.T, disk *simdisk.Disk) manifest.Segment {
	t.Helper()
	found, err := manifest.Load(disk, "store")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range found.Best.State.Buckets {
		return b.Segments[len(b.Segments)-1]
	}
	t.Fatal("there is no bucket")
	return manifest.Segment{}
}
