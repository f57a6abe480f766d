// Package docs holds the tests of the project's pages: links lead somewhere, the reading
// tour names every package, and what the pages have typed works.
package docs

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// pages are the Markdown files of the project.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, pattern := range []string{"../*.md", "../*/*.md", "../*/*/*.md"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			all[name] = string(text)
		}
	}
	if len(all) < 5 {
		t.Fatalf("only %d pages were found", len(all))
	}
	return all
}

var link = regexp.MustCompile(`\]\(([^)#]+)(#[^)]*)?\)`)

func TestLinksLeadToFiles(t *testing.T) {
	for page, text := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", page, m[1], err)
			}
		}
	}
}

// code is a word in backticks that looks like a file of the project.
var code = regexp.MustCompile("`((?:[a-z0-9_]+/)+[a-z0-9_]+(?:\\.go|\\.md)?|\\.ci/run)`")

// No page has what git leaves of two versions that it could not join.
func TestPagesHaveNoConflicts(t *testing.T) {
	for name, text := range pages(t) {
		for n, line := range strings.Split(text, "\n") {
			if strings.HasPrefix(line, "<<<<<<< ") || strings.HasPrefix(line, ">>>>>>> ") {
				t.Errorf("%s:%d: %s", name, n+1, line)
			}
		}
	}
}

// Files and packages that a page names exist.
func TestPagesNameFilesThatExist(t *testing.T) {
	names := 0
	for _, page := range []string{"../README.md", "../CONTRIBUTING.md", "design.md"} {
		for _, m := range code.FindAllStringSubmatch(pages(t)[page], -1) {
			first, _, _ := strings.Cut(m[1], "/")
			if _, err := os.Stat(filepath.Join("..", first)); err != nil {
				continue // of another module
			}
			names++
			if _, err := os.Stat(filepath.Join("..", m[1])); err != nil {
				t.Errorf("%s names %s: %v", page, m[1], err)
			}
		}
	}
	if names < 40 {
		t.Errorf("only %d names were found", names)
	}
}

// The reading tour of the design page names every package of the module.
func TestTheTourNamesEveryPackage(t *testing.T) {
	tour := section(t, "../docs/design.md", "## A reading tour")
	list := exec.CommandContext(t.Context(), "go", "list", "kvd/...")
	list.Dir = ".."
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.FieldsSeq(string(out)) {
		path := strings.TrimPrefix(name, "kvd/")
		if path != "docs" && !strings.Contains(tour, "`"+path+"`") {
			t.Errorf("the tour does not name %s", path)
		}
	}
}

// A program outside the repository gets kvd by the two commands of the first steps, and the
// program that stands there compiles and prints what it should.
func TestAnOutsideProgram(t *testing.T) {
	text := section(t, "../docs/first-steps.md", "## In a Go program")
	blocks := fenced(text, "sh")
	programs := fenced(text, "go")
	if len(blocks) == 0 || len(programs) == 0 || !strings.HasPrefix(programs[0], "package main") {
		t.Fatal("the page has no commands or no program")
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(programs[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(line string) string {
		t.Helper()
		args := strings.Fields(line)
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
		return string(out)
	}
	run("go mod init outside")
	commands := 0
	for line := range strings.Lines(blocks[0]) {
		if command, ok := strings.CutPrefix(strings.TrimSpace(line), "$ "); ok {
			run(strings.ReplaceAll(command, "../kvd", root))
			commands++
		}
	}
	if commands != 2 {
		t.Errorf("the page has %d commands, want two", commands)
	}
	want := "true key revision mismatch: \"Key1\" in bucket \"my-kv\" is at revision 2, expected 1\nKey1 = Value2\n"
	if got := run("go run ."); got != want {
		t.Errorf("the program printed\n%swant\n%s", got, want)
	}
}

// section returns the part of a page below a heading, up to the next heading that is
// not below it.
func section(t *testing.T, page, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut(pages(t)[page], "\n"+heading+"\n")
	if !ok {
		t.Fatalf("%s has no section %q", page, heading)
	}
	level := strings.Repeat("#", strings.Count(heading, "#"))
	end := regexp.MustCompile(`(?m)^#{1,` + string(rune('0'+len(level))) + `} `).FindStringIndex(rest)
	if end != nil {
		rest = rest[:end[0]]
	}
	return rest
}

// fenced returns the code blocks of a language.
func fenced(text, language string) (blocks []string) {
	for {
		_, rest, ok := strings.Cut(text, "```"+language+"\n")
		if !ok {
			return blocks
		}
		block, after, _ := strings.Cut(rest, "```")
		blocks, text = append(blocks, block), after
	}
}
