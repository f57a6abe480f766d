package main

import (
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// The worked examples of the package docs, as kvd dump shows them.
func TestDumpOfTheDocumentation(t *testing.T) {
	for _, c := range []struct {
		doc     string // file with the example
		example int    // which of the dumps in it
		name    string // that the file has in a store
	}{
		{"../../bucket/manifest/doc.go", 0, "manifest.1"},
		{"../../wal/doc.go", 0, "0000000000000001.wal"},
		{"../../wal/doc.go", 1, "synced"},
		{"../../segment/doc.go", 0, "0000000000000002.seg"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, c.name)
			if err := os.WriteFile(file, examples(t, c.doc)[c.example], 0o600); err != nil {
				t.Fatal(err)
			}
			a := newTestApp("")
			if code := a.execute(t.Context(), []string{"dump", "--file", file, "--values", "full"}); code != exitOK {
				t.Fatalf("exit %d: %s", code, &a.err)
			}
			got := strings.ReplaceAll(a.out.String(), dir+"/", "")
			golden := filepath.Join("testdata", "dump", c.name+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

var dumped = regexp.MustCompile(`^//\t([0-9a-f]{4,6})(?:$|  ((?:[0-9a-f]{2} {1,2}){7,15}[0-9a-f]{2}))`)

// examples returns the files that a package doc shows as dumps: each line has an offset and up to
// 16 bytes, lines of zeros are left out, and a line without bytes has the size.
func examples(t *testing.T, doc string) (files [][]byte) {
	t.Helper()
	source, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	var file []byte
	for line := range strings.Lines(string(source)) {
		m := dumped.FindStringSubmatch(strings.TrimRight(line, "\n"))
		if m == nil {
			continue
		}
		at, err := strconv.ParseInt(m[1], 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		if int(at) < len(file) {
			files, file = append(files, file), nil
		}
		b, err := hex.DecodeString(strings.ReplaceAll(m[2], " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		file = append(append(file, make([]byte, int(at)-len(file))...), b...)
	}
	return append(files, file)
}

func TestRangesOfFrames(t *testing.T) {
	for text, want := range map[string][2]uint64{"": {0, 0}, "7": {7, 7}, "3..5": {3, 5}, "3..": {3, 0}, "..5": {1, 5}, "..": {1, 0}} {
		if first, last, err := parseLSNs(text); err != nil || uint64(first) != want[0] || uint64(last) != want[1] {
			t.Errorf("%q: %d to %d, %v; want %v", text, first, last, err, want)
		}
	}
	for _, text := range []string{"a", "0", "1..b", "-1", "1..2..3", "0..5"} {
		if first, last, err := parseLSNs(text); err == nil {
			t.Errorf("%q: %d to %d", text, first, last)
		}
	}
}
