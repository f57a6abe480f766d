package bucket

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kvd/bucket/manifest"
)

// held returns the descriptors and mappings that this process has of files below
// dir.
func held(t *testing.T, dir string) (files []string) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(to, dir) {
			files = append(files, "descriptor of "+to)
		}
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	defer maps.Close()
	for lines := bufio.NewScanner(maps); lines.Scan(); {
		if strings.Contains(lines.Text(), dir) {
			files = append(files, "mapping "+lines.Text())
		}
	}
	return files
}

func TestCloseLeavesNoDescriptorAndNoMapping(t *testing.T) {
	dir := filepath.Join(t.TempDir(), testDir)
	o := Options{LogFileSize: 64 << 10, LogMaxSize: 256 << 10, ReserveSize: 1 << 20}
	for range 3 { // a new store, then one that is recovered
		s, err := Open(dir, o)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"a", "b"} {
			h := &harness{t: t, s: s}
			b := h.bucket(name)
			for i := range 200 {
				mustPut(t, b, fmt.Sprint(i), strings.Repeat("v", 1000))
			}
			mustGet(t, b, "7", strings.Repeat("v", 1000))
		}
		if err := s.DeleteBucket(ctx, "a"); err != nil {
			t.Fatal(err)
		}
		if len(held(t, dir)) == 0 {
			t.Error("an open store holds nothing: the test looks for the wrong thing")
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if left := held(t, dir); len(left) > 0 {
			t.Errorf("left: %s", strings.Join(left, "\n"))
		}
	}
	if err := os.WriteFile(filepath.Join(dir, manifest.SegmentDir, "stranger"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, manifest.LostDir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, o); err == nil {
		t.Error("opened, though a stranger could not be set aside")
	}
	if left := held(t, dir); len(left) > 0 {
		t.Errorf("left by an Open that failed: %s", strings.Join(left, "\n"))
	}
}
