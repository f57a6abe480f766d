package conformance_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLinearizableFindsMutants records histories of servers that break a rule. The check has
// to notice within a few histories.
func TestLinearizableFindsMutants(t *testing.T) {
	const histories = 5
	for _, m := range []struct{ name, file, old, new string }{
		{"an update takes an older revision", "bucket/mutation.go", "if got != m.last {", "if got < m.last {"},
		{
			"a restart forgets some frames", "bucket/replay.go",
			"\tr.store.clock.raise(f.Time)\n", "\tr.store.clock.raise(f.Time)\n\tif f.LSN%4 == 0 {\n\t\treturn nil\n\t}\n",
		},
	} {
		t.Run(strings.ReplaceAll(m.name, " ", "_"), func(t *testing.T) {
			kvd := buildDaemon(t, "-overlay", overlay(t, m.file, m.old, m.new))
			for seed := range uint64(histories) {
				if _, err := recordAndCheck(t, kvd, seed+1); err != nil {
					text, _, _ := strings.Cut(err.Error(), "\n")
					t.Logf("history %d: %s", seed+1, text)
					return
				}
			}
			t.Errorf("%d histories passed the check", histories)
		})
	}
}

// overlay makes a file for go build -overlay that replaces a text of a source file, which
// has it once.
func overlay(t *testing.T, file, old, replacement string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "..", file))
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(source), old); n != 1 {
		t.Fatalf("%s has %q %d times, want once", file, old, n)
	}
	dir := t.TempDir()
	mutant, list := filepath.Join(dir, "mutant.go"), filepath.Join(dir, "overlay.json")
	text, err := json.Marshal(map[string]any{"Replace": map[string]string{path: mutant}})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{mutant: strings.Replace(string(source), old, replacement, 1), list: string(text)} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return list
}
