//go:build linux || darwin

package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// pageSize divides the sizes of files and mappings here.
const pageSize = 4096

// create makes a file with that content in a temporary directory of the test.
func create(t testing.TB, content string) (path string, f File) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "file")
	f, err := OS().Open(path, Create)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	writeAt(t, f, content, 0)
	return path, f
}

func writeAt(t testing.TB, f File, s string, off int64) {
	t.Helper()
	if n, err := f.WriteAt([]byte(s), off); n != len(s) || err != nil {
		t.Fatalf("WriteAt of %d bytes at %d: %d, %v", len(s), off, n, err)
	}
}

func mapFile(t testing.TB, f File, n int64) Mapping {
	t.Helper()
	m, err := f.Map(n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error %v, want one that matches %v", err, want)
	}
}

// Forget is a wish: it changes no byte, also where it does nothing.
func TestForget(t *testing.T) {
	for name, fsys := range map[string]FS{filepath.Join(t.TempDir(), "f"): OS(), "f": NewRAM()} {
		f, err := fsys.Open(name, Create)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("bytes"), 0); err != nil {
			t.Fatal(err)
		}
		Forget(f, 0, 5)
		b := make([]byte, 5)
		if _, err := f.ReadAt(b, 0); err != nil || string(b) != "bytes" {
			t.Errorf("after Forget: %q, %v", b, err)
		}
		f.Close()
		Forget(f, 0, 5)
	}
}

func TestOSMapping(t *testing.T) {
	t.Run("a_truncated_page_is_an_error_and_does_not_end_the_process", func(t *testing.T) {
		_, f := create(t, strings.Repeat("x", 3*pageSize))
		m := mapFile(t, f, 3*pageSize)
		must(t, f.Truncate(10))
		p := make([]byte, 100)
		if n, err := m.ReadAt(p, pageSize); n != 0 || !errors.Is(err, ErrFault) {
			t.Fatalf("ReadAt beyond the end: %d, %v; want ErrFault", n, err)
		}
		if n, err := m.ReadAt(p[:10], 0); n != 10 || err != nil || string(p[:10]) != "xxxxxxxxxx" {
			t.Fatalf("ReadAt of the remaining bytes: %d, %v, %q", n, err, p[:10])
		}
	})
	t.Run("the_error_names_the_file", func(t *testing.T) {
		path, f := create(t, "")
		_, err := mapFile(t, f, pageSize).ReadAt(make([]byte, 1), 0)
		if err == nil || !strings.Contains(err.Error(), path) {
			t.Fatalf("error %v does not name %s", err, path)
		}
	})
	t.Run("the_goroutines_fault_setting_is_restored", func(t *testing.T) {
		_, f := create(t, "x")
		m := mapFile(t, f, 2*pageSize)
		for _, before := range []bool{false, true} {
			old := debug.SetPanicOnFault(before)
			for _, off := range []int64{0, pageSize} { // no fault, and a fault
				m.ReadAt(make([]byte, 1), off)
				if after := debug.SetPanicOnFault(before); after != before {
					t.Errorf("PanicOnFault was %v, is %v after a read at %d", before, after, off)
				}
			}
			debug.SetPanicOnFault(old)
		}
	})
	t.Run("a_fault_outside_the_mapping_stays_a_panic", func(t *testing.T) {
		_, f := create(t, "x")
		m := mapFile(t, f, 1)
		readOnly, err := unix.Mmap(-1, 0, pageSize, unix.PROT_READ, unix.MAP_PRIVATE|unix.MAP_ANON)
		must(t, err)
		defer unix.Munmap(readOnly)
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		n, err := m.ReadAt(readOnly[:1], 0)
		t.Errorf("ReadAt into memory that cannot be written: %d, %v", n, err)
	})
	t.Run("it_follows_writes_and_growth", func(t *testing.T) {
		_, f := create(t, "one")
		m := mapFile(t, f, 4*pageSize)
		writeAt(t, f, "two", 3*pageSize)
		p := make([]byte, 3)
		if _, err := m.ReadAt(p, 3*pageSize); err != nil || string(p) != "two" {
			t.Fatalf("%q, %v", p, err)
		}
	})
	t.Run("it_ends_at_its_own_size", func(t *testing.T) {
		_, f := create(t, "0123456789")
		m := mapFile(t, f, 5)
		for _, c := range []struct {
			off, n, got int64
			err         error
		}{
			{0, 5, 5, nil}, {0, 6, 5, io.EOF}, {4, 1, 1, nil}, {5, 1, 0, io.EOF}, {5, 0, 0, nil},
			{1 << 62, 1, 0, io.EOF}, {-1, 1, 0, fs.ErrInvalid}, {-1 << 63, 1, 0, fs.ErrInvalid},
		} {
			n, err := m.ReadAt(make([]byte, c.n), c.off)
			if int64(n) != c.got || !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
				t.Errorf("ReadAt of %d at %d: %d, %v; want %d, %v", c.n, c.off, n, err, c.got, c.err)
			}
		}
	})
	t.Run("an_empty_one_works", func(t *testing.T) {
		_, f := create(t, "x")
		m := mapFile(t, f, 0)
		if n, err := m.ReadAt(make([]byte, 1), 0); n != 0 || err != io.EOF {
			t.Fatalf("%d, %v", n, err)
		}
		must(t, m.Close())
	})
	t.Run("a_negative_or_huge_size_is_an_error", func(t *testing.T) {
		_, f := create(t, "x")
		for _, n := range []int64{-1, 1 << 62} {
			if _, err := f.Map(n); err == nil {
				t.Errorf("Map(%d) succeeded", n)
			}
		}
	})
	t.Run("it_outlives_the_file_and_its_name", func(t *testing.T) {
		path, f := create(t, "kept")
		m := mapFile(t, f, 4)
		must(t, f.Close())
		must(t, OS().Remove(path))
		p := make([]byte, 4)
		if _, err := m.ReadAt(p, 0); err != nil || string(p) != "kept" {
			t.Fatalf("%q, %v", p, err)
		}
	})
	t.Run("reading_does_not_allocate", func(t *testing.T) {
		_, f := create(t, strings.Repeat("x", pageSize))
		m, p := mapFile(t, f, pageSize), make([]byte, 128)
		if n := testing.AllocsPerRun(100, func() { m.ReadAt(p, 64) }); n != 0 {
			t.Errorf("%v allocations a read", n)
		}
	})
}

func TestOSLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "LOCK")
	held, err := OS().Lock(path)
	must(t, err)

	t.Run("a_second_one_names_the_holder", func(t *testing.T) {
		_, err := OS().Lock(path)
		var locked *LockedError
		if !errors.As(err, &locked) || locked.PID != syscall.Getpid() || locked.Path != path {
			t.Fatalf("%v, want a LockedError of process %d", err, syscall.Getpid())
		}
	})
	t.Run("the_process_is_unknown_if_the_file_names_none", func(t *testing.T) {
		f, err := OS().Open(path, ReadWrite)
		must(t, err)
		defer f.Close()
		for _, content := range []string{"", "garbage", "-5\n"} {
			must(t, f.Truncate(0))
			writeAt(t, f, content, 0)
			_, err := OS().Lock(path)
			var locked *LockedError
			if !errors.As(err, &locked) || locked.PID != 0 {
				t.Errorf("with %q in the file: %v, want a LockedError of no process", content, err)
			}
		}
	})
	t.Run("closing_releases_it", func(t *testing.T) {
		must(t, held.Close())
		if info, err := OS().Stat(path); err != nil || info.Size != 0 {
			t.Fatalf("the file still names the holder: %+v, %v", info, err)
		}
		again, err := OS().Lock(path)
		must(t, err)
		must(t, again.Close())
	})
}

func TestOSAllocate(t *testing.T) {
	blocks := func(t *testing.T, path string) int64 {
		var st unix.Stat_t
		must(t, unix.Stat(path, &st))
		return int64(st.Blocks) * 512
	}
	t.Run("it_reserves_blocks_and_extends", func(t *testing.T) {
		path, f := create(t, "head")
		must(t, f.Allocate(0, 1<<20))
		if size, err := f.Size(); size != 1<<20 || err != nil {
			t.Fatalf("size %d, %v", size, err)
		}
		if got := blocks(t, path); got < 1<<20 {
			t.Errorf("%d bytes on disk", got)
		}
		b := make([]byte, 8)
		if _, err := f.ReadAt(b, 0); err != nil || string(b) != "head\x00\x00\x00\x00" {
			t.Errorf("content %q, %v", b, err)
		}
	})
	t.Run("it_does_not_shrink", func(t *testing.T) {
		_, f := create(t, strings.Repeat("x", 100))
		must(t, f.Allocate(0, 10))
		if size, err := f.Size(); size != 100 || err != nil {
			t.Fatalf("size %d, %v", size, err)
		}
	})
	t.Run("without_fallocate_zeros_are_written_beyond_the_end", func(t *testing.T) {
		path, f := create(t, "head")
		must(t, f.(*osFile).writeZeros(4, 700_000))
		b := make([]byte, 700_001)
		n, err := f.ReadAt(b, 0)
		if n != 700_000 || err != io.EOF || string(b[:4]) != "head" || !bytes.Equal(b[4:], make([]byte, len(b)-4)) {
			t.Errorf("%d bytes, %v", n, err)
		}
		if got := blocks(t, path); got < 700_000 {
			t.Errorf("%d bytes on disk", got)
		}
		must(t, f.(*osFile).writeZeros(700_000, 5)) // nothing to do
		unwritable, err := OS().Open(path, ReadOnly)
		must(t, err)
		defer unwritable.Close()
		wantErr(t, unwritable.(*osFile).writeZeros(0, 1), unix.EBADF)
	})
	t.Run("a_failure_leaves_the_size", func(t *testing.T) {
		_, f := create(t, "head")
		if err := f.Allocate(1<<62, 1); err == nil {
			t.Error("an allocation of 4 EiB succeeded")
		}
		if size, err := f.Size(); size != 4 || err != nil {
			t.Errorf("size %d, %v", size, err)
		}
	})
	t.Run("an_empty_or_impossible_range_is_invalid", func(t *testing.T) {
		_, f := create(t, "")
		for _, r := range [][2]int64{{0, 0}, {-1, 1}, {0, -1}, {1<<63 - 1, 1}} {
			wantErr(t, f.Allocate(r[0], r[1]), fs.ErrInvalid)
		}
	})
}

func TestOSOpen(t *testing.T) {
	dir := t.TempDir()
	target, f := create(t, "x")
	must(t, f.Close())
	link, fifo, sub := filepath.Join(dir, "link"), filepath.Join(dir, "fifo"), filepath.Join(dir, "sub")
	must(t, syscall.Symlink(target, link))
	must(t, unix.Mkfifo(fifo, 0o600))
	must(t, OS().Mkdir(sub))

	t.Run("symbolic_links_FIFOs_and_directories_are_refused", func(t *testing.T) {
		for path, want := range map[string]error{link: unix.ELOOP, fifo: fs.ErrInvalid, sub: unix.EISDIR} {
			for _, mode := range []Mode{ReadOnly, ReadWrite} {
				_, err := OS().Open(path, mode)
				wantErr(t, err, want)
			}
		}
		_, err := OS().Lock(link)
		wantErr(t, err, unix.ELOOP)
	})
	t.Run("an_unknown_mode_is_invalid", func(t *testing.T) {
		for _, mode := range []Mode{0, Create + 1} {
			_, err := OS().Open(target, mode)
			wantErr(t, err, fs.ErrInvalid)
		}
	})
	t.Run("only_the_owner_may_read", func(t *testing.T) {
		for path, want := range map[string]uint32{target: 0o600, sub: 0o700} {
			var st unix.Stat_t
			must(t, unix.Stat(path, &st))
			if got := uint32(st.Mode) & 0o777; got != want {
				t.Errorf("%s has mode %o, want %o", path, got, want)
			}
		}
	})
	t.Run("children_do_not_inherit_the_descriptor", func(t *testing.T) {
		f, err := OS().Open(target, ReadOnly)
		must(t, err)
		defer f.Close()
		must(t, f.(*osFile).call("fcntl", func(fd int) error {
			flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
			if flags&unix.FD_CLOEXEC == 0 {
				err = errors.Join(err, errors.New("FD_CLOEXEC is not set"))
			}
			return err
		}))
	})
	t.Run("SyncDir_takes_directories_only", func(t *testing.T) {
		must(t, SyncDir(OS(), dir))
		wantErr(t, SyncDir(OS(), target), unix.ENOTDIR)
	})
	t.Run("calls_of_a_closed_file_return_ErrClosed", func(t *testing.T) {
		f, err := OS().Open(target, ReadWrite)
		must(t, err)
		must(t, f.Close())
		for name, err := range everyCall(f) {
			if !errors.Is(err, fs.ErrClosed) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// everyCall makes each call of a file once and returns the errors.
func everyCall(f File) map[string]error {
	_, read := f.ReadAt(make([]byte, 1), 0)
	_, write := f.WriteAt(make([]byte, 1), 0)
	_, size := f.Size()
	_, mapped := f.Map(1)
	return map[string]error{"ReadAt": read, "WriteAt": write, "Size": size, "Map": mapped,
		"Truncate": f.Truncate(1), "Allocate": f.Allocate(0, 1), "Sync": f.Sync(), "Close": f.Close()}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		err     error
		noSpace bool
	}{
		{syscall.ENOSPC, true}, {syscall.EDQUOT, true}, {syscall.EIO, false}, {fs.ErrClosed, false},
	} {
		for _, err := range []error{PathError("write", "f", c.err), mark(&fs.PathError{Op: "write", Path: "f", Err: c.err})} {
			t.Run(fmt.Sprintf("%v_matches_itself_and_ErrNoSpace_%v", c.err, c.noSpace), func(t *testing.T) {
				wantErr(t, err, c.err)
				if got := errors.Is(err, ErrNoSpace); got != c.noSpace {
					t.Errorf("matches ErrNoSpace: %v", got)
				}
				if want := "write f: " + c.err.Error(); err.Error() != want {
					t.Errorf("reads %q, want %q", err, want)
				}
			})
		}
	}
	t.Run("io.EOF_is_not_wrapped", func(t *testing.T) {
		if mark(io.EOF) != io.EOF || mark(nil) != nil || PathError("read", "f", nil) != nil {
			t.Error("wrapped")
		}
	})
	t.Run("a_lock_error_names_path_and_process", func(t *testing.T) {
		for err, want := range map[LockedError]string{
			{"L", 7}: "L is locked by process 7", {"L", 0}: "L is locked by another process",
		} {
			if err.Error() != want {
				t.Errorf("%q, want %q", err.Error(), want)
			}
		}
	})
}

// BenchmarkMappingReadAt measures the cost of the guard compared with a plain copy.
func BenchmarkMappingReadAt(b *testing.B) {
	_, f := create(b, strings.Repeat("x", 1<<20))
	m := mapFile(b, f, 1<<20).(*osMapping)
	for _, size := range []int{128, 1024} {
		p := make([]byte, size)
		for _, via := range []struct {
			name string
			read func(off int64)
		}{
			{"copy", func(off int64) { copy(p, m.data[off:]) }},
			{"mapping", func(off int64) { m.ReadAt(p, off) }},
			{"pread", func(off int64) { f.ReadAt(p, off) }},
		} {
			b.Run(fmt.Sprintf("size=%d/via=%s", size, via.name), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(size))
				var off int64
				for b.Loop() {
					via.read(off)
					off = (off + 4096 + 64) & (1<<19 - 1)
				}
				if p[size-1] != 'x' {
					b.Fatal("nothing was read")
				}
			})
		}
	}
}
