package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// running begins the script of a page that takes a running server for granted.
const running = "exec kvd serve &\nexec sh -c 'until kvd health >/dev/null 2>&1; do sleep 0.1; done'\n"

// TestCommandsOfTheDocs runs the console blocks of pages one after the other, and compares what
// they print. "…" in a page stands for anything.
func TestCommandsOfTheDocs(t *testing.T) {
	for page, before := range map[string]string{
		"repair.md": "", "operations.md": "", "security.md": "", "first-steps.md": running,
	} {
		t.Run(page, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("..", "..", "docs", page))
			if err != nil {
				t.Fatal(err)
			}
			line, admin := freeAddr(t), freeAddr(t)
			file := filepath.Join(t.TempDir(), "docs.txtar")
			if err := os.WriteFile(file, []byte(before+scriptOf(string(text))), 0o600); err != nil {
				t.Fatal(err)
			}
			testscript.Run(t, testscript.Params{Files: []string{file}, Setup: func(e *testscript.Env) error {
				e.Vars = append(e.Vars, "KVD_WAL_FILE_SIZE=64KiB", "KVD_WAL_MAX_SIZE=1MiB", "KVD_RESERVE_SIZE=0", "TZ=UTC",
					"KVD_NATS=", "KVD_LISTEN="+line, "KVD_SERVER="+line, "KVD_ADMIN="+admin)
				return nil
			}})
		})
	}
}

// freeAddr returns an address on which nothing listens, for servers of a page that has no ports.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
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
