package bucket

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"kvd/kv"
)

func TestCheckUnlocked(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	if err := CheckUnlocked(dir); err != nil {
		t.Errorf("no directory: %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the directory was made")
	}
	s, err := Open(dir, Options{LogFileSize: 64 << 10, LogMaxSize: 1 << 20, ReserveSize: -1})
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckUnlocked(dir); !errors.Is(err, kv.ErrLocked) {
		t.Errorf("an open store: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // it gives the lock back
		if err := CheckUnlocked(dir); err != nil {
			t.Errorf("a closed store: %v", err)
		}
	}
}
