// Package golden compares the output of a codec with a file in the tree, so that a
// change of an on-disk format is visible as a difference in review. It is for tests.
package golden

import (
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Compare fails the test if the hex dump of got differs from the file
// testdata/name.golden in the package's directory. With the flag -update it writes
// the file instead.
func Compare(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name+".golden")
	text := hex.Dump(got)
	if *update {
		if err := os.MkdirAll("testdata", 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("%s differs; got\n%swant\n%s", file, text, want)
	}
}
