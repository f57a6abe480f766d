// Package blobtest has the test that every [blob.Store] passes, and stores that fail on purpose.
package blobtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"kvd/backup/blob"
)

// Run checks a kind of store. open returns an empty one that nobody else uses.
func Run(t *testing.T, open func(t *testing.T) blob.Store) {
	for _, fact := range facts {
		t.Run(strings.ReplaceAll(fact.name, " ", "_"), func(t *testing.T) { fact.check(t, open(t)) })
	}
}

var facts = []struct {
	name  string
	check func(*testing.T, blob.Store)
}{
	{"an object has its bytes", objectHasItsBytes},
	{"an object is put once", putOnce},
	{"a put may be repeated", putRepeated},
	{"of puts at once one succeeds", putsAtOnce},
	{"a missing object is not found", missing},
	{"a deleted object is gone", deleted},
	{"a list has names with the prefix in order", list},
	{"a list of nothing is empty", listOfNothing},
	{"a range has exactly its bytes", ranges},
	{"a name that leads elsewhere is refused", names},
	{"a call after the end of its context fails", canceled},
	{"errors name call, object and place", errorsNameTheObject},
}

// bytesOf returns n bytes that no compression or shift maps to each other.
func bytesOf(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*i>>3 ^ i)
	}
	return b
}

func put(t *testing.T, s blob.Store, name string, data []byte) {
	t.Helper()
	if err := s.Put(t.Context(), name, data); err != nil {
		t.Fatal(err)
	}
}

func has(t *testing.T, s blob.Store, name string, want []byte) {
	t.Helper()
	got, err := blob.Get(t.Context(), s, name, blob.SizeMax)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("%s has %d bytes, %v, want %d", name, len(got), err, len(want))
	}
}

func fails(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("the error is %v, want one that matches %v", err, want)
	}
}

func objectHasItsBytes(t *testing.T, s blob.Store) {
	for _, size := range []int{0, 1, 4096, 1<<20 + 7} {
		name := fmt.Sprintf("a/b/size-%d", size)
		put(t, s, name, bytesOf(size))
		has(t, s, name, bytesOf(size))
		info, err := s.Stat(t.Context(), name)
		if err != nil || info.Name != name || info.Size != int64(size) || info.Modified.IsZero() {
			t.Errorf("stat: %+v, %v", info, err)
		}
	}
}

func putOnce(t *testing.T, s blob.Store) {
	put(t, s, "owner.json", []byte("one"))
	fails(t, s.Put(t.Context(), "owner.json", []byte("two")), blob.ErrExists)
	fails(t, s.Put(t.Context(), "owner.json", []byte("longer")), blob.ErrExists)
	fails(t, s.Put(t.Context(), "owner.json", nil), blob.ErrExists)
	has(t, s, "owner.json", []byte("one"))
}

func putRepeated(t *testing.T, s blob.Store) {
	for _, data := range []string{"", "one"} {
		put(t, s, "object-"+data, []byte(data))
		put(t, s, "object-"+data, []byte(data))
		has(t, s, "object-"+data, []byte(data))
	}
}

func putsAtOnce(t *testing.T, s blob.Store) {
	const writers = 8
	var won atomic.Int32
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			data := bytes.Repeat([]byte{byte('0' + i)}, 1000+i)
			err := s.Put(t.Context(), "race/owner.json", data)
			switch {
			case err == nil:
				won.Add(1)
				has(t, s, "race/owner.json", data)
			case !errors.Is(err, blob.ErrExists):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d puts succeeded", won.Load())
	}
}

func missing(t *testing.T, s blob.Store) {
	put(t, s, "a/b", nil)
	for _, name := range []string{"c", "a/c", "a/b/c", "a"} {
		_, err := s.GetRange(t.Context(), name, 0, 1)
		fails(t, err, blob.ErrNotFound)
		_, err = s.GetRange(t.Context(), name, 0, 0)
		fails(t, err, blob.ErrNotFound)
		_, err = s.Stat(t.Context(), name)
		fails(t, err, blob.ErrNotFound)
		if err := s.Delete(t.Context(), name); err != nil && name != "a" {
			t.Error(err)
		}
	}
	has(t, s, "a/b", nil)
}

func deleted(t *testing.T, s blob.Store) {
	put(t, s, "a/b", []byte("one"))
	if err := s.Delete(t.Context(), "a/b"); err != nil {
		t.Fatal(err)
	}
	_, err := s.Stat(t.Context(), "a/b")
	fails(t, err, blob.ErrNotFound)
	put(t, s, "a/b", []byte("two"))
	has(t, s, "a/b", []byte("two"))
}

func list(t *testing.T, s blob.Store) {
	all := []string{"a/1", "a/2/3", "a/B", "a.b", "ab", "seg/0f.zst", "seg/a0.zst"}
	for i := len(all) - 1; i >= 0; i-- {
		put(t, s, all[i], bytesOf(i))
	}
	for _, prefix := range []string{"", "a/", "a/2/", "seg/", "none/", "ab/"} {
		infos, err := s.List(t.Context(), prefix)
		if err != nil {
			t.Fatal(err)
		}
		var want, got []string
		for _, name := range all {
			if strings.HasPrefix(name, prefix) {
				want = append(want, name)
			}
		}
		slices.Sort(want)
		for _, info := range infos {
			got = append(got, info.Name)
			if i := slices.Index(all, info.Name); info.Size != int64(i) || info.Modified.IsZero() {
				t.Errorf("%+v in the list, want size %d", info, i)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q lists %q, want %q", prefix, got, want)
		}
	}
}

func listOfNothing(t *testing.T, s blob.Store) {
	infos, err := s.List(t.Context(), "")
	if err != nil || len(infos) > 0 {
		t.Errorf("%v, %v", infos, err)
	}
	_, err = s.List(t.Context(), "a")
	fails(t, err, blob.ErrInvalidName)
}

func ranges(t *testing.T, s blob.Store) {
	const size = 10_000
	data := bytesOf(size)
	put(t, s, "object", data)
	for _, r := range [][2]int64{{0, 0}, {0, 1}, {0, size}, {1, size - 1}, {4095, 2}, {size - 1, 1}, {size, 0}} {
		got, err := s.GetRange(t.Context(), "object", r[0], r[1])
		if err != nil || !bytes.Equal(got, data[r[0]:r[0]+r[1]]) {
			t.Errorf("range %v: %d bytes, %v", r, len(got), err)
		}
	}
	for _, r := range [][2]int64{{0, size + 1}, {size, 1}, {size + 1, 0}, {1 << 40, 1}, {-1, 2}, {0, -1}} {
		_, err := s.GetRange(t.Context(), "object", r[0], r[1])
		fails(t, err, blob.ErrRange)
	}
	_, err := s.GetRange(t.Context(), "object", 0, blob.SizeMax+1)
	fails(t, err, blob.ErrTooLarge)
}

func names(t *testing.T, s blob.Store) {
	for _, name := range []string{
		"", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/./b", ".tmp/a", "a/.b", "a b", "a\\b", "a\x00b", "ä", "%2e%2e",
		strings.Repeat("a", 129), strings.Repeat("abc/", 200) + "a",
	} {
		fails(t, s.Put(t.Context(), name, nil), blob.ErrInvalidName)
		_, err := s.GetRange(t.Context(), name, 0, 0)
		fails(t, err, blob.ErrInvalidName)
		_, err = s.Stat(t.Context(), name)
		fails(t, err, blob.ErrInvalidName)
		fails(t, s.Delete(t.Context(), name), blob.ErrInvalidName)
		if name != "" {
			_, err = s.List(t.Context(), name+"/")
			fails(t, err, blob.ErrInvalidName)
		}
	}
}

func canceled(t *testing.T, s blob.Store) {
	put(t, s, "old", []byte("one"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	fails(t, s.Put(ctx, "new", []byte("one")), context.Canceled)
	_, err := s.GetRange(ctx, "old", 0, 1)
	fails(t, err, context.Canceled)
	_, err = s.Stat(ctx, "old")
	fails(t, err, context.Canceled)
	_, err = s.List(ctx, "")
	fails(t, err, context.Canceled)
	fails(t, s.Delete(ctx, "old"), context.Canceled)
	has(t, s, "old", []byte("one"))
	_, err = s.Stat(t.Context(), "new")
	fails(t, err, blob.ErrNotFound)
}

func errorsNameTheObject(t *testing.T, s blob.Store) {
	_, err := s.GetRange(t.Context(), "a/none", 0, 1)
	var e *blob.Error
	if !errors.As(err, &e) || e.Op != "get" || e.Name != "a/none" || e.Place != s.String() {
		t.Fatalf("the error is %#v", err)
	}
	if !strings.Contains(err.Error(), "a/none") || !strings.Contains(err.Error(), s.String()) {
		t.Error(err)
	}
}
