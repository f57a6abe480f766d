package vfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"sync"
	"testing"

	"kvd/internal/vfs"
)

func ramFile(t *testing.T) (vfs.FS, vfs.File) {
	t.Helper()
	fsys := vfs.NewRAM()
	f, err := fsys.Open("d/f", vfs.Create)
	if err != nil {
		t.Fatal(err)
	}
	return fsys, f
}

// A file in memory has the bytes that a slice would have.
func TestRAMAgreesWithASlice(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 1))
		_, f := ramFile(t)
		var want []byte
		resize := func(n int) {
			if n > len(want) {
				want = append(want, make([]byte, n-len(want))...)
			}
			want = want[:n:n]
		}
		for range 60 {
			at, n := rng.IntN(3000), 1+rng.IntN(2000)
			switch rng.IntN(4) {
			case 0:
				if err := f.Allocate(int64(at), int64(n)); err != nil {
					t.Fatal(err)
				}
				resize(max(len(want), at+n))
			case 1:
				if err := f.Truncate(int64(at)); err != nil {
					t.Fatal(err)
				}
				resize(at)
			default:
				p := make([]byte, n)
				for i := range p {
					p[i] = byte(rng.Uint32())
				}
				if got, err := f.WriteAt(p, int64(at)); got != n || err != nil {
					t.Fatal(got, err)
				}
				resize(max(len(want), at+n))
				copy(want[at:], p)
			}
			if size, err := f.Size(); err != nil || size != int64(len(want)) {
				t.Fatalf("seed %d: size %d, %v, want %d", seed, size, err, len(want))
			}
			at = rng.IntN(len(want) + 1)
			got := make([]byte, rng.IntN(4000))
			read, err := f.ReadAt(got, int64(at))
			if wantErr := at+len(got) > len(want); wantErr != (err == io.EOF) || !bytes.Equal(got[:read], want[at:min(len(want), at+len(got))]) {
				t.Fatalf("seed %d: read %d of %d at %d of %d, %v", seed, read, len(got), at, len(want), err)
			}
		}
	}
}

func TestRAMNames(t *testing.T) {
	fsys, f := ramFile(t)
	if _, err := fsys.Open("d/f", vfs.Create); !errors.Is(err, fs.ErrExist) {
		t.Errorf("created twice: %v", err)
	}
	for _, err := range []error{
		func() error { _, err := fsys.Open("d/g", vfs.ReadOnly); return err }(),
		func() error { _, err := fsys.Stat("d/g"); return err }(),
		fsys.Remove("d/g"),
	} {
		if !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("of a file that is not there: %v", err)
		}
	}
	if _, err := f.WriteAt([]byte("hello"), 0); err != nil {
		t.Fatal(err)
	}
	list, err := fsys.List("d")
	if err != nil || fmt.Sprint(list) != "[{f 5 false}]" {
		t.Errorf("listed %v, %v", list, err)
	}
	m, err := f.Map(100)
	if err != nil {
		t.Fatal(err)
	}
	if err := fsys.Remove("d/f"); err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 5)
	if _, err := m.ReadAt(p, 0); err != nil || string(p) != "hello" {
		t.Errorf("a mapping of a removed file has %q, %v", p, err)
	}
	if _, err := m.ReadAt(p, 3); !errors.Is(err, vfs.ErrFault) {
		t.Errorf("a mapping beyond the end of its file: %v", err)
	}
	if n, err := m.ReadAt(make([]byte, 5), 100); n != 0 || err != io.EOF {
		t.Errorf("beyond the mapping: %d, %v", n, err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadAt(p, 0); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("after close: %v", err)
	}
}

// A mapping shows appended bytes while another goroutine appends.
func TestRAMGrowsBesideReaders(t *testing.T) {
	_, f := ramFile(t)
	m, err := f.Map(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	written := make(chan int64)
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			p := make([]byte, 100)
			for end := range written {
				if _, err := m.ReadAt(p, end-100); err != nil || !bytes.Equal(p, bytes.Repeat([]byte{byte(end / 100)}, 100)) {
					t.Errorf("at %d: %x, %v", end, p[:4], err)
				}
			}
		})
	}
	for end := int64(100); end <= 100_000; end += 100 {
		if _, err := f.WriteAt(bytes.Repeat([]byte{byte(end / 100)}, 100), end-100); err != nil {
			t.Fatal(err)
		}
		written <- end
	}
	close(written)
	readers.Wait()
}

// A scan of a segment may read the place of an index block that is being written. The race
// detector finds a read and a write that do not exclude each other.
func TestRAMReadsWhatIsBeingWritten(t *testing.T) {
	_, f := ramFile(t)
	if _, err := f.WriteAt(make([]byte, 100), 0); err != nil {
		t.Fatal(err)
	}
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := range 100 {
			if _, err := f.WriteAt(bytes.Repeat([]byte{byte(i)}, 100), 0); err != nil {
				t.Error(err)
			}
		}
	})
	for range 100 {
		p := make([]byte, 100)
		if n, err := f.ReadAt(p, 0); n != 100 || err != nil || p[0] != p[99] {
			t.Errorf("%d bytes from %d to %d, error %v", n, p[0], p[99], err)
		}
	}
	writer.Wait()
}
