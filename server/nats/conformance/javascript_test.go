//go:build javascript

package conformance_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	natsfront "kvd/server/nats"
)

// TestJavaScript has NATS' JavaScript client do the walkthrough, in the version that
// package-lock.json pins. It needs node and npm, and so -tags javascript.
func TestJavaScript(t *testing.T) {
	f := start(t, t.TempDir(), natsfront.Options{})
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "javascript"))); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{
		{"npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts"},
		{"node", "walkthrough.js", f.conn.ConnectedUrl()},
	} {
		cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", command, err, out)
		}
	}
}
