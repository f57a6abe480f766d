package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestCommandsOfTheDocs runs the console blocks of pages one after the other, and compares what
// they print. "…" in a page stands for anything.
func TestCommandsOfTheDocs(t *testing.T) {
	for _, page := range []string{"repair.md"} {
		t.Run(page, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("..", "..", "docs", page))
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "docs.txtar")
			if err := os.WriteFile(file, []byte(scriptOf(string(text))), 0o600); err != nil {
				t.Fatal(err)
			}
			testscript.Run(t, testscript.Params{Files: []string{file}, Setup: func(e *testscript.Env) error {
				e.Vars = append(e.Vars, "KVD_WAL_FILE_SIZE=64KiB", "KVD_WAL_MAX_SIZE=1MiB", "KVD_RESERVE_SIZE=0", "TZ=UTC")
				return nil
			}})
		})
	}
}

// scriptOf turns the console blocks of a page into a script: each line that begins with "$ " is
// a command of the shell, and the lines behind it are what it prints.
func scriptOf(page string) string {
	var script strings.Builder
	for block := range strings.SplitSeq(page, "```console\n") {
		block, _, ok := strings.Cut(block, "```")
		if !ok || !strings.HasPrefix(block, "$ ") {
			continue
		}
		for line := range strings.Lines(block) {
			line = strings.TrimSuffix(line, "\n")
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				fmt.Fprintf(&script, "exec sh -c '%s'\n", strings.ReplaceAll(command, "'", "''"))
				continue
			}
			pattern := strings.ReplaceAll(regexp.QuoteMeta(line), "…", ".*")
			fmt.Fprintf(&script, "stdout '^%s$'\n", strings.ReplaceAll(pattern, "'", "''"))
		}
	}
	return script.String()
}
