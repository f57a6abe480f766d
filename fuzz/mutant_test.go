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

// A mutant is the engine with one rule broken in its source. A test of this package must
// fail because of it. All mutants are compiled into one test program with the compiler's
// overlay, and an environment variable selects the active one. So the engine itself has no
// hooks, and a mutant is a mistake that a programmer could make.
type mutant struct {
	name string
	file string // path below the module's root
	old  string // source text; it must occur exactly once in the file
	new  string // replaces old; "mutant" is an expression that is true while this mutant is active
	test string // the test of this package that must fail
}

const (
	// mutantName is the environment variable with the name of the active mutant.
	mutantName = "KVD_FUZZ_MUTANT"
	// mutantSource is a file that is added to every package with mutants.
	mutantSource = "package %s\n\nimport \"os\"\n\nvar activeMutant = os.Getenv(%q)\n"
)

// TestMutants runs the test of each mutant, which must fail.
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

// runMutant runs a test while a mutant is active.
func runMutant(t *testing.T, program, name, test string) (string, error) {
	cmd := exec.CommandContext(t.Context(), program, "-test.run=^"+test+"$", "-test.timeout=5m", "-kvd.shrink=0s")
	cmd.Env = append(os.Environ(), mutantName+"="+name, "KVD_FUZZ=")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// firstLine returns the first line of a test's failure.
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

// mutate returns the sources with all mutants, by their paths.
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
			t.Fatalf("%q: its old text occurs in %s %d times, want once:\n%s", m.name, m.file, n, m.old)
		}
		active := fmt.Sprintf("activeMutant == %q", m.name)
		sources[m.file] = strings.Replace(sources[m.file], m.old, strings.ReplaceAll(m.new, "mutant", active), 1)
	}
	return sources
}

// TestMutantsHaveNames checks that names are unique: otherwise two mutants would be active
// at once.
func TestMutantsHaveNames(t *testing.T) {
	var names []string
	for _, m := range mutants {
		if slices.Contains(names, m.name) {
			t.Errorf("two mutants have the name %q", m.name)
		}
		names = append(names, m.name)
	}
}
