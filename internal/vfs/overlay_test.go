package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"testing"
)

// The same random calls on an overlay of files and on a copy of them return the same, and the
// files below the overlay stay as they are.
func TestOverlay(t *testing.T) {
	for seed := range uint64(60) {
		base, plain := NewRAM(), NewRAM()
		r := rand.New(rand.NewPCG(seed, 5))
		names := []string{"d/a", "d/b", "d/c", "d/new"}
		before := map[string][]byte{}
		for _, name := range names[:3] {
			before[name] = noise(r, r.IntN(3*overlayPage))
			for _, f := range []FS{base, plain} {
				fill(t, f, name, before[name])
			}
		}
		over := Overlay(base)
		var files, others []File
		var maps, otherMaps []Mapping
		for n := range 60 {
			name, to := names[r.IntN(4)], names[r.IntN(4)]
			off, size := int64(r.IntN(4*overlayPage)), r.IntN(2*overlayPage)
			data, mode, pick := noise(r, size), Mode(1+r.IntN(3)), r.IntN(8)
			on := func(of func(f File) string) (got, want string) {
				if len(files) == 0 {
					return
				}
				return of(files[pick%len(files)]), of(others[pick%len(files)])
			}
			at := func(of func(f FS) string) (got, want string) { return of(over), of(plain) }
			var got, want string
			switch r.IntN(11) {
			case 0, 1, 2:
				f, err := over.Open(name, mode)
				o, otherErr := plain.Open(name, mode)
				got, want = kind(err), kind(otherErr)
				if err == nil && otherErr == nil {
					files, others = append(files, f), append(others, o)
				}
			case 3:
				got, want = at(func(f FS) string { return kind(f.Remove(name)) })
			case 4:
				if name != to {
					got, want = at(func(f FS) string { return kind(f.Rename(name, to)) })
				}
			case 5:
				got, want = at(func(f FS) string { i, err := f.List("d"); return fmt.Sprint(i, kind(err)) })
			case 6:
				got, want = on(func(f File) string { return kind(f.Truncate(off)) })
			case 7:
				got, want = on(func(f File) string { _, err := f.WriteAt(data, off); return kind(err) })
			case 8:
				got, want = on(func(f File) string { i, err := f.IsAt(name); return fmt.Sprint(i, kind(err)) })
			case 9:
				if len(files) > 0 && off > 0 {
					m, err := files[pick%len(files)].Map(off)
					o, otherErr := others[pick%len(files)].Map(off)
					if err != nil || otherErr != nil {
						t.Fatal(err, otherErr)
					}
					maps, otherMaps = append(maps, m), append(otherMaps, o)
				}
			default:
				got, want = on(func(f File) string { return kind(f.Allocate(off, int64(size)+1)) })
			}
			if got != want {
				t.Fatalf("seed %d, call %d: got %s, want %s", seed, n, got, want)
			}
			for i := range files {
				if got, want := content(files[i], 0, 8*overlayPage), content(others[i], 0, 8*overlayPage); got != want {
					t.Fatalf("seed %d, call %d: file %d differs", seed, n, i)
				}
			}
			for i := range maps {
				if got, want := content(maps[i], off, size), content(otherMaps[i], off, size); got != want {
					t.Fatalf("seed %d, call %d: mapping %d differs: %.40q, want %.40q", seed, n, i, got, want)
				}
			}
		}
		for name, want := range before {
			if f, err := base.Open(name, ReadOnly); err != nil || content(f, 0, 8*overlayPage) != string(want)+" EOF" {
				t.Fatalf("seed %d: %s below the overlay was changed: %v", seed, name, err)
			}
		}
	}
}

func noise(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func fill(t *testing.T, f FS, name string, b []byte) {
	t.Helper()
	file, err := f.Open(name, Create)
	if err == nil {
		_, err = file.WriteAt(b, 0)
	}
	if err == nil {
		err = file.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// content returns the bytes of a range and the kind of the error.
func content(r io.ReaderAt, off int64, size int) string {
	b := bytes.Repeat([]byte{0xee}, size)
	n, err := r.ReadAt(b, off)
	if errors.Is(err, ErrFault) {
		return "fault"
	}
	return string(b[:n]) + " " + kind(err)
}

// kind names the errors that callers branch on.
func kind(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, io.EOF):
		return "EOF"
	case errors.Is(err, fs.ErrNotExist):
		return "not there"
	case errors.Is(err, fs.ErrExist):
		return "exists"
	}
	return "error"
}
