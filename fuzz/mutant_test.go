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

// A mutant is the engine with one rule broken in its source. A test of this package, or of
// the package that it names, must fail because of it. All mutants are compiled into one test
// program of each package with the compiler's overlay, and an environment variable selects
// the active one. So the engine itself has no hooks, and a mutant is a mistake that a
// programmer could make.
type mutant struct {
	name string
	file string // path below the module's root
	old  string // source text; it must occur exactly once in the file
	new  string // replaces old; "mutant" is an expression that is true while this mutant is active
	test string // the test that must fail
	in   string // directory of the test's package below the module's root; empty: this package
}

// allMutants returns every mutant.
func allMutants() []mutant {
	return slices.Concat(mutants, damageMutants, valueMutants, tailMutants, backupMutants, importMutants, repairMutants, txnMutants, kernelMutants)
}

const (
	// mutantName is the environment variable with the name of the active mutant.
	mutantName = "KVD_FUZZ_MUTANT"
	// mutantSource is a file that is added to every package with mutants.
	mutantSource = "package %s\n\nimport \"os\"\n\nvar activeMutant = os.Getenv(%q)\n"
)

// mutantsMin is how many mutants there are at least.
const mutantsMin = 60

// TestMutants runs the test of each mutant, which must fail.
func TestMutants(t *testing.T) {
	all := allMutants()
	if len(all) < mutantsMin {
		t.Errorf("there are %d mutants", len(all))
	}
	programs := buildMutants(t, all)
	for _, m := range all {
		t.Run(strings.ReplaceAll(m.name, " ", "_"), func(t *testing.T) {
			t.Parallel()
			if out, err := runMutant(t, programs[m.in], &m); err == nil || !strings.Contains(out, "--- FAIL: "+m.test) {
				t.Errorf("%s did not find it: %v\n%s", m.test, err, out)
			} else {
				t.Log(firstLine(out, m.test))
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		t.Parallel()
		none := mutant{test: "TestModelOfLife"}
		if out, err := runMutant(t, programs[""], &none); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

// runMutant runs the test of m while m is active. With an effort of one, some sweeps have too
// few workloads to meet every mutant.
func runMutant(t *testing.T, program string, m *mutant) (string, error) {
	cmd := exec.CommandContext(t.Context(), program, "-test.run=^"+m.test+"$", "-test.timeout=5m")
	if m.in == "" {
		cmd.Args = append(cmd.Args, "-kvd.shrink=0s", "-kvd.effort=2")
	} else {
		cmd.Dir = filepath.Join("..", m.in) // its testdata
	}
	cmd.Env = append(os.Environ(), mutantName+"="+m.name, "KVD_FUZZ=")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// firstLine returns the first line of a test's failure.
func firstLine(out, test string) string {
	_, out, _ = strings.Cut(out, "--- FAIL: "+test)
	lines := strings.SplitN(out, "\n", 3)
	return strings.TrimSpace(lines[min(1, len(lines)-1)])
}

// buildMutants compiles the tests of this package and of those that mutants name with all
// mutants in the engine. It returns the programs by the packages' directories.
func buildMutants(t *testing.T, all []mutant) (programs map[string]string) {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	overlay := struct{ Replace map[string]string }{make(map[string]string)}
	for path, source := range mutate(t, root, all) {
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
	programs = map[string]string{}
	for _, m := range all {
		if programs[m.in] == "" {
			programs[m.in] = buildProgram(t, file, m.in, filepath.Join(dir, "in-"+strings.ReplaceAll(m.in, "/", "-")+".test"))
		}
	}
	return programs
}

// buildProgram compiles the tests of a package with an overlay.
func buildProgram(t *testing.T, overlay, in, program string) string {
	t.Helper()
	pkg := "."
	if in != "" {
		pkg = "../" + in
	}
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-overlay", overlay, "-o", program, pkg)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return program
}

// mutate returns the sources with all mutants, by their paths.
func mutate(t *testing.T, root string, all []mutant) map[string]string {
	t.Helper()
	sources := make(map[string]string)
	for _, m := range all {
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
			t.Errorf("%q: its old text occurs in %s %d times, want once:\n%s", m.name, m.file, n, m.old)
			continue
		}
		active := fmt.Sprintf("activeMutant == %q", m.name)
		sources[m.file] = strings.Replace(sources[m.file], m.old, strings.ReplaceAll(m.new, "mutant", active), 1)
	}
	if t.Failed() {
		t.FailNow()
	}
	return sources
}

// TestMutantsHaveNames checks that names are unique: otherwise two mutants would be active
// at once.
func TestMutantsHaveNames(t *testing.T) {
	var names []string
	for _, m := range allMutants() {
		if slices.Contains(names, m.name) {
			t.Errorf("two mutants have the name %q", m.name)
		}
		names = append(names, m.name)
	}
}
