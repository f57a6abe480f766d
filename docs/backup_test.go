package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// varying is what differs between two runs of the commands.
var varying = regexp.MustCompile(`20\d\d-\d\d-\d\dT[0-9:.]+Z|[0-9.]+m?s$|[0-9.]+ KiB|\t\d{4,5}\t`)

// The commands of the page about backups work in their order, and print what stands there, but for
// times and sizes.
func TestTheCommandsOfBackups(t *testing.T) {
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "bin", "kvd"), "./cmd/kvd")
	build.Dir = ".."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	shell := func(line string) string {
		c := exec.CommandContext(t.Context(), "sh", "-c", line)
		c.Dir = dir
		c.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"))
		out, err := c.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
		return string(out)
	}
	shell("kvd add orders --dir kvd-data && kvd put orders o1 paid --dir kvd-data && kvd add users --dir kvd-data && kvd put users u1 ada --dir kvd-data")
	commands := 0
	for _, block := range fenced(pages(t)["../docs/backup.md"], "console") {
		for part := range strings.SplitSeq(strings.TrimPrefix(block, "$ "), "\n$ ") {
			line, want, _ := strings.Cut(part, "\n")
			got := strings.TrimSuffix(shell(line), "\n")
			if g, w := varying.ReplaceAllString(got, "…"), varying.ReplaceAllString(strings.TrimSuffix(want, "\n"), "…"); g != w {
				t.Errorf("%s prints\n%s\nwant\n%s", line, got, want)
			}
			commands++
		}
	}
	if commands < 10 {
		t.Errorf("the page has %d commands", commands)
	}
}
