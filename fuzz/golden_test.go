package fuzz

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"kvd/bucket"
	"kvd/internal/vfs/simdisk"
)

var updateStores = flag.Bool("kvd.update-stores", false, "write the golden stores of the present format")

// goldenStores are stores that earlier programs wrote, and what their readers were told.
// Every later program opens them.
var goldenStores = []goldenStore{
	{"testdata/store2-closed", func(t *testing.T) *matrixStore { return newMatrixStore(t, true) }},
	{"testdata/store2-killed", func(t *testing.T) *matrixStore { return newMatrixStore(t, false) }},
	{"testdata/store2-imported", newImportedStore},
}

type goldenStore struct {
	name string
	make func(*testing.T) *matrixStore
}

// TestGoldenStores opens each of them and asks everything.
func TestGoldenStores(t *testing.T) {
	for _, g := range goldenStores {
		t.Run(path.Base(g.name), func(t *testing.T) {
			if *updateStores {
				writeGolden(t, g.name, g.make(t))
			}
			m := readGolden(t, g.name)
			for range 2 {
				s, err := bucket.Open("store", m.options(m.disk))
				if err != nil {
					t.Fatal(err)
				}
				if r := s.Report(); len(r.Damages) > 0 || r.ReadOnly != nil {
					t.Errorf("report: %v", r)
				}
				lies, refused := m.compare(ask(s, m.questions, m.answers))
				if len(lies) > 0 || len(refused) > 0 || len(m.questions) < 500 {
					t.Errorf("of %d answers %d are others and %d refused: %s %s", len(m.questions), len(lies), len(refused), first(lies), first(refused))
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// goldenAnswers is what stands beside a golden store.
type goldenAnswers struct {
	Now     int64             `json:"now"`     // unix s: the time of the answers
	Answers map[string]string `json:"answers"` // by the question's text
}

// truth returns the answers in the order of their questions.
func (g *goldenAnswers) truth(t *testing.T) (w truth) {
	t.Helper()
	names, keys := map[string]bool{}, map[string]bool{}
	for text := range g.Answers {
		if f := strings.Fields(text); len(f) == 3 && f[1] == "get" {
			names[f[0]], keys[f[2]] = true, true
		}
	}
	for _, q := range questions(slices.Sorted(maps.Keys(names)), slices.Sorted(maps.Keys(keys)), goldenRevisions) {
		if answer, ok := g.Answers[q.String()]; ok {
			w.questions, w.answers = append(w.questions, q), append(w.answers, answer)
		}
	}
	if len(w.questions) != len(g.Answers) {
		t.Fatalf("of %d questions %d are known", len(g.Answers), len(w.questions))
	}
	return w
}

// goldenRevisions is more than the revisions that a golden store has.
const goldenRevisions = 200

func writeGolden(t *testing.T, name string, m *matrixStore) {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, dir := range []string{"store", "store/wal", "store/seg"} {
		files, err := m.disk.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if f.Dir || f.Name == "LOCK" {
				continue
			}
			content, err := m.disk.ReadFile(dir + "/" + f.Name)
			if err != nil {
				t.Fatal(err)
			}
			out, err := w.Create(dir + "/" + f.Name)
			if err == nil {
				_, err = out.Write(content)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	beside := goldenAnswers{m.now.Unix(), map[string]string{}}
	for i, q := range m.questions {
		beside.Answers[q.String()] = m.answers[i]
	}
	text, err := json.MarshalIndent(beside, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	for file, content := range map[string][]byte{name + ".zip": b.Bytes(), name + ".json": text} {
		if err := os.WriteFile(file, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func readGolden(t *testing.T, name string) *matrixStore {
	t.Helper()
	m := &matrixStore{disk: simdisk.New()}
	text, err := os.ReadFile(name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var want goldenAnswers
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	m.truth, m.now = want.truth(t), time.Unix(want.Now, 0).UTC()
	z, err := zip.OpenReader(name + ".zip")
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	for _, dir := range []string{"store", "store/wal", "store/seg"} {
		if err := m.disk.Mkdir(dir); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range z.File {
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(in)
		if err == nil {
			err = m.disk.WriteFile(f.Name, content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return m
}
