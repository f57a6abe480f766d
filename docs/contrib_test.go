package docs

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// metric is the name of a metric in an expression.
var metric = regexp.MustCompile(`\b(kvd|go|process)_[a-z0-9_]+`)

// documented returns the metrics that server/admin describes; of a histogram, the names of its
// series.
func documented(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("../server/admin/doc.go")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{ // of client_golang's collectors
		"go_memstats_heap_inuse_bytes": true, "process_resident_memory_bytes": true,
	}
	for _, m := range regexp.MustCompile(`(?m)^//\t(kvd_[a-z0-9_]+)(\{[a-z,]+\})? +(counter|gauge|histogram) `).FindAllStringSubmatch(string(text), -1) {
		names[m[1]] = true
		if m[3] == "histogram" {
			delete(names, m[1])
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				names[m[1]+suffix] = true
			}
		}
	}
	if len(names) < 40 {
		t.Fatalf("server/admin describes only %d metrics", len(names))
	}
	return names
}

// Every metric that the board and the alerts name exists, and every alert is on the page for
// operators.
func TestBoardAndAlerts(t *testing.T) {
	known := documented(t)
	page := pages(t)["../docs/operations.md"]
	check := func(where, expr string) {
		t.Helper()
		if strings.TrimSpace(expr) == "" || strings.Count(expr, "(") != strings.Count(expr, ")") {
			t.Errorf("%s: the expression is %q", where, expr)
		}
		found := metric.FindAllString(expr, -1)
		if len(found) == 0 {
			t.Errorf("%s names no metric: %s", where, expr)
		}
		for _, name := range found {
			if !known[name] {
				t.Errorf("%s names %s, which server/admin does not describe", where, name)
			}
		}
	}
	var board struct {
		Panels []struct {
			ID      int
			Title   string
			Type    string
			Targets []struct{ Expr string }
		}
	}
	decodeJSON(t, "../contrib/grafana/kvd.json", &board)
	seen := map[int]bool{}
	for _, p := range board.Panels {
		if p.Title == "" || seen[p.ID] || p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %d %q has an ID that was there, or neither title nor expression", p.ID, p.Title)
		}
		seen[p.ID] = true
		for _, target := range p.Targets {
			check("panel "+p.Title, target.Expr)
		}
	}
	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	decodeYAML(t, "../contrib/prometheus/kvd.rules.yml", &rules)
	alerts := 0
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			alerts++
			check("alert "+r.Alert, r.Expr)
			if r.Labels["severity"] == "" || r.Annotations["summary"] == "" {
				t.Errorf("alert %s has no severity or summary", r.Alert)
			}
			if !strings.Contains(page, r.Alert) {
				t.Errorf("docs/operations.md has no alert %s", r.Alert)
			}
		}
	}
	if len(board.Panels) < 20 || alerts < 10 {
		t.Errorf("%d panels, %d alerts", len(board.Panels), alerts)
	}
}

// The manifests are YAML, and set only variables of settings that exist.
func TestManifests(t *testing.T) {
	example, err := os.ReadFile("../contrib/kvd.toml")
	if err != nil {
		t.Fatal(err)
	}
	variables := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#([a-z0-9-]+) = `).FindAllStringSubmatch(string(example), -1) {
		variables["KVD_"+strings.ToUpper(strings.ReplaceAll(m[1], "-", "_"))] = true
	}
	for file, least := range map[string]int{
		"../Dockerfile": 4, "../contrib/compose.yaml": 4, "../contrib/kubernetes/kvd.yaml": 4, "../contrib/kvd.service": 4,
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		names := regexp.MustCompile(`\bKVD_[A-Z0-9_]+`).FindAllString(string(text), -1)
		for _, name := range names {
			if !variables[name] {
				t.Errorf("%s sets %s, which is no setting", file, name)
			}
		}
		if len(names) < least {
			t.Errorf("%s sets %d settings", file, len(names))
		}
	}
	for file, kinds := range map[string]string{
		"../contrib/compose.yaml": "", "../contrib/prometheus/prometheus.yml": "", "../contrib/kubernetes/kvd.yaml": "Service StatefulSet ",
	} {
		var got strings.Builder
		for _, document := range documents(t, file) {
			if kind, ok := document["kind"].(string); ok {
				got.WriteString(kind + " ")
			}
		}
		if got.String() != kinds {
			t.Errorf("%s has the kinds %q, want %q", file, got.String(), kinds)
		}
	}
}

// The unit has no key that systemd would ignore because it stands outside a section.
func TestUnit(t *testing.T) {
	text, err := os.ReadFile("../contrib/kvd.service")
	if err != nil {
		t.Fatal(err)
	}
	section := ""
	for n, line := range strings.Split(string(text), "\n") {
		switch line = strings.TrimSpace(line); {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			section = line
		case section == "" || !regexp.MustCompile(`^[A-Z][A-Za-z]+=`).MatchString(line):
			t.Errorf("kvd.service:%d: %s", n+1, line)
		}
	}
}

func decodeJSON(t *testing.T, file string, v any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, v)
	}
	if err != nil {
		t.Fatalf("%s: %v", filepath.Base(file), err)
	}
}

func decodeYAML(t *testing.T, file string, v any) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err == nil {
		err = yaml.Unmarshal(text, v)
	}
	if err != nil {
		t.Fatalf("%s: %v", filepath.Base(file), err)
	}
}

// documents returns the documents of a file of YAML.
func documents(t *testing.T, file string) (all []map[string]any) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d := yaml.NewDecoder(f)
	for {
		var document map[string]any
		err := d.Decode(&document)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%s: %v", filepath.Base(file), err)
		}
		all = append(all, document)
	}
}
