package bucket

import (
	"path"
	"strings"
	"testing"

	"kvd/bucket/manifest"
	"kvd/kv"
)

// Every bit of both copies of a real store's manifest may flip, one at a time:
// the other copy serves, and the report says which one is damaged.
func TestAStoreOpensWithOneDamagedCopyOfItsManifest(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", withHistory(3))
	mustPut(t, b, "k", "v")
	h.checkpoint()
	mustPut(t, b, "k", "w")
	if err := h.s.Close(); err != nil {
		t.Fatal(err)
	}
	whole := h.disk
	for i, name := range manifest.Names {
		file := path.Join(testDir, name)
		content, err := whole.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for at := i % 7; at < len(content); at += 7 {
			h.insert(whole.Clone())
			h.flip(file, int64(at), at%8)
			h.open()
			wantShown(t, h.find("b"), showing{"k": revs{1, 2}})
			if d := damages(h.s.Report()); len(d) > 1 || len(d) == 1 && !strings.Contains(d[0], file) {
				t.Errorf("byte %d of %s: damages %q", at, name, d)
			}
			h.close()
		}
	}
}

// The manifest of a store that was open for long stays small.
func TestAnOvergrownManifestIsRewritten(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", func(c *kv.Config) { c.Description = strings.Repeat("d", kv.MaxDescriptionSize) })
	generation := h.s.checkpoint.manifest.Generation()
	for i := 0; h.s.checkpoint.manifest.Generation() == generation; i++ {
		if i > 2000 {
			t.Fatalf("after %d checkpoints the manifest has %d bytes", i, h.s.checkpoint.manifest.Size())
		}
		mustPut(t, b, "k", "v")
		h.checkpoint()
	}
	want := mustPut(t, b, "k", "last")
	h.checkpoint()
	h.powerCut()
	h.open()
	wantShown(t, h.find("b"), showing{"k": revs{want}})
}
