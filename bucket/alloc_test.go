package bucket

import (
	"errors"
	"testing"

	"kvd/internal/environment"
	"kvd/internal/vfs"
	"kvd/kv"
)

func TestGetAppendDoesNotAllocate(t *testing.T) {
	h := osHarness(t)
	b := h.bucket("b")
	mustPut(t, b, "some.key", "some value")
	buf := make([]byte, 0, 10+8+128)
	allocs := testing.AllocsPerRun(200, func() {
		got, e, err := b.GetAppend(ctx, buf, "some.key")
		if err != nil || string(got) != "some value" || string(e.Value) != "some value" {
			t.Fatalf("%q, %+v, %v", got, e, err)
		}
	})
	if allocs != 0 {
		t.Errorf("GetAppend allocates %v times", allocs)
	}
}

// TestAMissDoesNotAllocate checks GetAppend alone: the error of Get has names in it.
func TestAMissDoesNotAllocate(t *testing.T) {
	h := osHarness(t)
	b := h.bucket("b")
	mustPut(t, b, "some.key", "some value")
	for name, c := range map[string]struct {
		get  func() error
		most float64
	}{
		"GetAppend": {func() error { _, _, err := b.GetAppend(ctx, nil, "no.key"); return err }, 0},
		"Get":       {func() error { _, err := b.Get(ctx, "no.key"); return err }, 1},
	} {
		allocs := testing.AllocsPerRun(200, func() {
			if err := c.get(); !errors.Is(err, kv.ErrKeyNotFound) {
				t.Fatal(err)
			}
		})
		if allocs > c.most {
			t.Errorf("%s of a missing key allocates %v times, want at most %v", name, allocs, c.most)
		}
	}
}

func TestAPutAllocatesAtMostOnce(t *testing.T) {
	h := osHarness(t)
	b := h.bucket("b")
	value := make([]byte, 100)
	mustPut(t, b, "some.key", "v")
	allocs := testing.AllocsPerRun(200, func() {
		if _, err := b.Put(ctx, "some.key", value); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > putAllocs {
		t.Errorf("Put allocates %v times, want at most %d", allocs, putAllocs)
	}
}

// TestASubmitOfOneCostsAPut checks that a front end loses nothing by Submit.
func TestASubmitOfOneCostsAPut(t *testing.T) {
	h := osHarness(t)
	b := h.bucket("b")
	mustPut(t, b, "some.key", "v")
	for _, op := range []kv.MutationOp{kv.MutatePut, kv.MutateDelete, kv.MutatePurge} {
		ms := []kv.Mutation{{Bucket: "b", Op: op, Key: "some.key"}}
		if op == kv.MutatePut {
			ms[0].Value = make([]byte, 100)
		}
		allocs := testing.AllocsPerRun(200, func() {
			if err := h.s.Submit(ctx, ms); err != nil || ms[0].Err != nil {
				t.Fatal(err, ms[0].Err)
			}
		})
		if allocs > putAllocs {
			t.Errorf("Submit of one %v allocates %v times, want at most %d", op, allocs, putAllocs)
		}
	}
}

// osHarness is a harness on the operating system's files, in a directory of the
// test's own.
func osHarness(t testing.TB) *harness {
	t.Helper()
	s, err := Open(t.TempDir()+"/"+testDir, Options{LogFileSize: 64 << 10, ReserveSize: -1, env: environment.Env{Manual: true, FS: vfs.OS()}})
	if err != nil {
		t.Fatal(err)
	}
	h := &harness{t: t, s: s}
	t.Cleanup(func() { h.close() })
	return h
}
