package fuzz

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A mutant is the engine with one rule broken in its source; a test of this package
// must notice. All are compiled into one test program at a time, with the compiler's
// overlay, and an environment variable says which one lives: so the engine itself has
// no hooks, and a mutant is what a programmer may get wrong.
type mutant struct {
	name string
	file string // below the module's root
	old  string // stands in it once
	new  string // stands in its place; "mutant" is true while this one lives
	test string // of this package, which fails
}

const (
	// mutantName says in the environment which mutant lives.
	mutantName = "KVD_FUZZ_MUTANT"
	// mutantSource is the file that every package with mutants gets.
	mutantSource = "package %s\n\nimport \"os\"\n\nvar livingMutant = os.Getenv(%q)\n"
)

// TestMutants lets the tests of this package loose on each mutant.
func TestMutants(t *testing.T) {
	program := buildMutants(t)
	for _, m := range mutants {
		t.Run(strings.ReplaceAll(m.name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			if out, err := runMutant(t, program, m.name, m.test); err == nil || !strings.Contains(out, "--- FAIL: "+m.test) {
				t.Errorf("%s did not find it: %v\n%s", m.test, err, out)
			} else {
				t.Log(firstLine(out, m.test))
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		t.Parallel()
		if out, err := runMutant(t, program, "", "TestModelOfLife"); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

// runMutant runs a test while a mutant lives.
func runMutant(t *testing.T, program, name, test string) (string, error) {
	cmd := exec.CommandContext(t.Context(), program, "-test.run=^"+test+"$", "-test.timeout=5m", "-kvd.shrink=0s")
	cmd.Env = append(os.Environ(), mutantName+"="+name, "KVD_FUZZ=")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// firstLine returns the first line of what a test said.
func firstLine(out, test string) string {
	_, out, _ = strings.Cut(out, "--- FAIL: "+test)
	lines := strings.SplitN(out, "\n", 3)
	return strings.TrimSpace(lines[min(1, len(lines)-1)])
}

// buildMutants compiles this package's tests with all mutants in the engine.
func buildMutants(t *testing.T) (program string) {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	overlay := struct{ Replace map[string]string }{make(map[string]string)}
	for path, source := range mutate(t, root) {
		to := filepath.Join(dir, strings.ReplaceAll(path, "/", "-"))
		if err := os.WriteFile(to, []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay.Replace[filepath.Join(root, path)] = to
	}
	list, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(file, list, 0o600); err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(dir, "mutants.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-overlay", file, "-o", program, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return program
}

// mutate returns the sources with all mutants in them, by their paths.
func mutate(t *testing.T, root string) map[string]string {
	t.Helper()
	sources := make(map[string]string)
	for _, m := range mutants {
		if _, ok := sources[m.file]; !ok {
			b, err := os.ReadFile(filepath.Join(root, m.file))
			if err != nil {
				t.Fatal(err)
			}
			sources[m.file] = string(b)
			pkg := filepath.Dir(m.file)
			sources[pkg+"/mutant.go"] = fmt.Sprintf(mutantSource, filepath.Base(pkg), mutantName)
		}
		if n := strings.Count(sources[m.file], m.old); n != 1 {
			t.Fatalf("%q: its text stands in %s %d times, want once:\n%s", m.name, m.file, n, m.old)
		}
		lives := fmt.Sprintf("livingMutant == %q", m.name)
		sources[m.file] = strings.Replace(sources[m.file], m.old, strings.ReplaceAll(m.new, "mutant", lives), 1)
	}
	return sources
}

// TestMutantsHaveNames keeps two mutants from living at once.
func TestMutantsHaveNames(t *testing.T) {
	var names []string
	for _, m := range mutants {
		if slices.Contains(names, m.name) {
			t.Errorf("%q stands there twice", m.name)
		}
		names = append(names, m.name)
	}
}
