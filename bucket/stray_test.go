package bucket

import (
	"path"
	"strings"
	"testing"

	"kvd/bucket/manifest"
	"kvd/internal/vfs/simdisk"
	"kvd/segment"
)

// strays are names that may turn up among the segments and are not the store's:
// a copy, a note, and segments with numbers that were never handed out.
var strays = []string{
	"notes.txt", "0000000000000001.seg.bak",
	segment.FileName(1 << 60), segment.FileName(2*numberBlock + 7),
}

// strayStore leaves a closed store with strays among its segments.
func strayStore(t *testing.T) (*harness, showing) {
	h, want := sampleStore(t)
	h.open()
	if err := h.s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range strays {
		if err := h.disk.WriteFile(path.Join(testDir, manifest.SegmentDir, name), []byte(name)); err != nil {
			t.Fatal(err)
		}
	}
	return h, want
}

func TestStrangersAmongTheSegmentsAreSetAside(t *testing.T) {
	h, want := strayStore(t)
	h.open()
	if got := h.s.Report().Strays; len(got) != len(strays) {
		t.Errorf("reported: %q", got)
	}
	for _, file := range h.s.Report().Strays {
		if !strings.HasPrefix(file, path.Join(testDir, manifest.LostDir)+"/") {
			t.Errorf("reported: %q", file)
		}
		if b, err := h.disk.ReadFile(file); err != nil || string(b) != path.Base(file) {
			t.Errorf("%s holds %q, %v", file, b, err)
		}
	}
	wantShown(t, h.find("b"), want)
	h.reopen()
	if got := h.s.Report().Strays; len(got) != 0 {
		t.Errorf("reported again: %q", got)
	}
}

// Of two strangers of one name that come after each other none is lost.
func TestAStrangerDoesNotReplaceAnother(t *testing.T) {
	h, _ := strayStore(t)
	h.open()
	if err := h.s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := h.disk.WriteFile(path.Join(testDir, manifest.SegmentDir, strays[0]), []byte("another")); err != nil {
		t.Fatal(err)
	}
	h.open()
	got := h.s.Report().Strays
	if len(got) != 1 {
		t.Fatalf("reported: %q", got)
	}
	for file, want := range map[string]string{path.Join(testDir, manifest.LostDir, strays[0]): strays[0], got[0]: "another"} {
		if b, err := h.disk.ReadFile(file); err != nil || string(b) != want {
			t.Errorf("%s holds %q, %v; want %q", file, b, err, want)
		}
	}
}

// Wherever a crash cuts an open off, no stranger is removed for scratch.
func TestNoCrashLosesAStranger(t *testing.T) {
	h, want := strayStore(t)
	left := h.disk
	for n := int64(1); ; n++ {
		h.insert(left.Clone())
		h.fs.Inject(simdisk.StopAt(n))
		err := h.tryOpen()
		done := h.fs.Calls() < n
		if done && err != nil {
			t.Fatal(err)
		}
		for _, choice := range []simdisk.Choice{simdisk.KeepNone(), simdisk.KeepAll()} {
			crashed := &harness{t: t, opts: h.opts}
			crashed.insert(h.disk.Crash(choice))
			crashed.open()
			wantShown(t, crashed.find("b"), want)
			files := tree(t, crashed.disk, testDir)
			for _, name := range strays {
				if files[path.Join(testDir, manifest.LostDir, name)] != name {
					t.Errorf("call %d: %s is gone", n, name)
				}
			}
			crashed.close()
		}
		h.close()
		if done || t.Failed() {
			return
		}
	}
}
