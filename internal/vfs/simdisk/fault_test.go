package simdisk

import (
	"errors"
	"io"
	"io/fs"
	"strings"
	"sync"
	"syscall"
	"testing"

	"kvd/internal/vfs"
)

// calls makes every call that a Fault counts, once each and in the order of
// their kinds, and returns the errors. Handles are opened beforehand.
func calls(t *testing.T, f *Fault, mem *Disk) []error {
	t.Helper()
	must(t, mem.Mkdir("/d"))
	must(t, mem.WriteFile("/f", []byte("content")))
	must(t, mem.WriteFile("/gone", nil))
	file, err := f.Open("/f", vfs.ReadWrite)
	must(t, err)
	m, err := file.Map(3)
	must(t, err)
	dir, err := f.OpenDir("/")
	must(t, err)
	before := f.Calls()
	var errs []error
	note := func(err error) { errs = append(errs, err) }
	_, err = f.Open("/f", vfs.ReadOnly)
	note(err)
	note(f.Mkdir("/e"))
	note(f.Rename("/f", "/g"))
	note(f.Remove("/gone"))
	_, err = f.List("/")
	note(err)
	_, err = f.Stat("/d")
	note(err)
	_, err = f.OpenDir("/")
	note(err)
	note(dir.Sync())
	_, err = f.Lock("/LOCK")
	note(err)
	_, err = file.ReadAt(make([]byte, 3), 1)
	note(err)
	_, err = file.WriteAt([]byte("xyz"), 2)
	note(err)
	note(file.Truncate(100))
	note(file.Allocate(0, 200))
	note(file.Sync())
	_, err = file.Size()
	note(err)
	_, err = file.Map(5)
	note(err)
	_, err = m.ReadAt(make([]byte, 2), 1)
	note(err)
	must(t, m.Close())
	must(t, dir.Close())
	must(t, file.Close())
	if got := f.Calls() - before; got != int64(len(errs)) {
		t.Errorf("%d calls counted, %d made", got, len(errs))
	}
	return errs
}

const opened = 3 // calls that calls makes beforehand

func TestFault(t *testing.T) {
	broken := errors.New("broken")
	t.Run("without_injection_every_call_passes", func(t *testing.T) {
		mem := New()
		for i, err := range calls(t, NewFault(mem), mem) {
			if err != nil {
				t.Errorf("%v: %v", OpKind(i+1), err)
			}
		}
	})
	t.Run("each_call_is_reported_with_its_arguments", func(t *testing.T) {
		mem := New()
		f := NewFault(mem)
		var got []Op
		f.Inject(func(op Op) Action { got = append(got, op); return Action{} })
		calls(t, f, mem)
		for i, want := range []Op{
			{Kind: OpOpen, Path: "/f"}, {Kind: OpMkdir, Path: "/e"}, {Kind: OpRename, Path: "/f"}, {Kind: OpRemove, Path: "/gone"},
			{Kind: OpList, Path: "/"}, {Kind: OpStat, Path: "/d"}, {Kind: OpOpenDir, Path: "/"}, {Kind: OpSyncDir, Path: "/"}, {Kind: OpLock, Path: "/LOCK"},
			{Kind: OpReadAt, Path: "/f", Offset: 1, Len: 3}, {Kind: OpWriteAt, Path: "/f", Offset: 2, Len: 3},
			{Kind: OpTruncate, Path: "/f", Offset: 100}, {Kind: OpAllocate, Path: "/f", Len: 200}, {Kind: OpSync, Path: "/f"},
			{Kind: OpSize, Path: "/f"}, {Kind: OpMap, Path: "/f", Len: 5}, {Kind: OpReadMapping, Path: "/f", Offset: 1, Len: 2},
		} {
			want.N = int64(opened + 1 + i)
			if got[opened+i] != want {
				t.Errorf("reported %+v, want %+v", got[opened+i], want)
			}
		}
	})
	t.Run("FailNth_fails_that_call_and_no_other", func(t *testing.T) {
		for n := range int(OpReadMapping) {
			mem := New()
			f := NewFault(mem)
			f.Inject(FailNth(int64(opened+n+1), broken))
			for i, err := range calls(t, f, mem) {
				// Only this test uses the lock and the rename; nothing else depends on them.
				if (err != nil) != (i == n) || err != nil && !errors.Is(err, broken) {
					t.Errorf("call %d of %d: %v", n, i, err)
				}
			}
		}
	})
	t.Run("a_failed_call_does_nothing", func(t *testing.T) {
		mem := New()
		f := NewFault(mem)
		f.Inject(FailFrom(opened+1, broken))
		for i, err := range calls(t, f, mem) {
			if !errors.Is(err, broken) {
				t.Errorf("%v: %v", OpKind(i+1), err)
			}
		}
		unchanged(t, mem)
	})
	t.Run("FailKind_fails_every_call_of_the_kind", func(t *testing.T) {
		for kind := OpOpen; kind <= OpReadMapping; kind++ {
			mem := New()
			f := NewFault(mem)
			f.Inject(func(op Op) Action {
				if op.N <= opened {
					return Action{}
				}
				return FailKind(kind, broken)(op)
			})
			for i, err := range calls(t, f, mem) {
				if errors.Is(err, broken) != (OpKind(i+1) == kind) {
					t.Errorf("failing %v: %v returns %v", kind, OpKind(i+1), err)
				}
			}
		}
	})
	t.Run("StopAt_fails_every_later_call", func(t *testing.T) {
		for n := range int(OpReadMapping) {
			mem := New()
			f := NewFault(mem)
			f.Inject(StopAt(int64(opened + n + 1)))
			for i, err := range calls(t, f, mem) {
				if errors.Is(err, ErrStopped) != (i >= n) {
					t.Errorf("stopped at %v: %v returns %v", OpKind(n+1), OpKind(i+1), err)
				}
			}
			if n == 0 {
				unchanged(t, mem)
			}
		}
	})
	t.Run("a_new_injection_undoes_a_stop", func(t *testing.T) {
		f := NewFault(New())
		f.Inject(StopAt(1))
		wantErr(t, f.Mkdir("/a"), ErrStopped)
		wantErr(t, f.Mkdir("/a"), ErrStopped)
		f.Inject(nil)
		must(t, f.Mkdir("/a"))
	})
	t.Run("an_error_reads_like_the_systems", func(t *testing.T) {
		f := NewFault(New())
		f.Inject(FailNth(1, syscall.ENOSPC))
		err := f.Mkdir("/a")
		wantErr(t, err, vfs.ErrNoSpace)
		wantErr(t, err, syscall.ENOSPC)
		if want := "mkdir /a: no space left on device"; err.Error() != want {
			t.Errorf("%q, want %q", err, want)
		}
	})
	t.Run("errors_of_the_inner_file_system_are_returned", func(t *testing.T) {
		f := NewFault(New())
		_, err := f.Open("/none", vfs.ReadOnly)
		wantErr(t, err, fs.ErrNotExist)
		_, err = f.Stat("/none")
		wantErr(t, err, fs.ErrNotExist)
		file, err := f.Open("/f", vfs.Create)
		must(t, err)
		_, err = file.ReadAt(make([]byte, 1), 0)
		wantErr(t, err, io.EOF)
		_, err = file.Map(-1)
		wantErr(t, err, fs.ErrInvalid)
	})
	t.Run("concurrent_calls_have_numbers_of_their_own", func(t *testing.T) {
		f := NewFault(New())
		seen := make(map[int64]bool)
		f.Inject(func(op Op) Action { seen[op.N] = true; return Action{} })
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 100 {
					if _, err := f.List("/"); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if f.Calls() != 800 || len(seen) != 800 {
			t.Errorf("%d calls, %d numbers", f.Calls(), len(seen))
		}
	})
	t.Run("an_unknown_kind_has_a_name", func(t *testing.T) {
		if s := OpKind(0).String() + OpKind(200).String(); s != "OpKind(0)OpKind(200)" {
			t.Error(s)
		}
	})
}

// unchanged checks that the files that existed before calls are unchanged.
func unchanged(t *testing.T, mem *Disk) {
	t.Helper()
	infos, err := mem.List("/")
	if err != nil || len(infos) != 3 || infos[1] != (vfs.Info{Name: "f", Size: 7}) {
		t.Errorf("%+v, %v", infos, err)
	}
	if b, err := mem.ReadFile("/f"); string(b) != "content" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	if n := mem.Pending(); n != 1 { // the directory that calls made
		t.Errorf("%d items pending", n)
	}
}

func TestFaultShortWrite(t *testing.T) {
	for _, c := range []struct {
		short int
		n     int
		left  string
	}{{0, 0, "old"}, {-1, 0, "old"}, {1, 1, "nld"}, {2, 2, "ned"}, {3, 3, "new"}, {9, 3, "new"}} {
		mem := New()
		must(t, mem.WriteFile("f", []byte("old")))
		f := NewFault(mem)
		file, err := f.Open("f", vfs.ReadWrite)
		must(t, err)
		f.Inject(func(Op) Action { return Action{Err: syscall.EIO, Short: c.short} })
		n, err := file.WriteAt([]byte("new"), 0)
		wantErr(t, err, syscall.EIO)
		if b, _ := mem.ReadFile("f"); n != c.n || string(b) != c.left {
			t.Errorf("short of %d: %d bytes written, %q left; want %d, %q", c.short, n, b, c.n, c.left)
		}
	}
	t.Run("on_a_full_disk_the_disks_error_is_returned", func(t *testing.T) {
		mem := New()
		mem.SetCapacity(0)
		f := NewFault(mem)
		file, err := f.Open("f", vfs.Create)
		must(t, err)
		f.Inject(func(Op) Action { return Action{Err: syscall.EIO, Short: 1} })
		_, err = file.WriteAt([]byte("xx"), 0)
		wantErr(t, err, vfs.ErrNoSpace)
	})
}

// A stop during the work and then a power cut: a test that every store needs.
func TestFaultStopThenCrash(t *testing.T) {
	work := func(fs vfs.FS) error {
		f, err := fs.Open("tmp", vfs.Create)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte(strings.Repeat("new", 1000)), 0); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		if err := fs.Rename("tmp", "f"); err != nil {
			return err
		}
		return vfs.SyncDir(fs, "/")
	}
	var old, changed int
	for n := int64(1); ; n++ {
		mem := New()
		must(t, mem.WriteFile("f", []byte("old")))
		f := NewFault(mem)
		f.Inject(StopAt(n))
		err := work(f)
		for k := range mem.Pending() + 1 {
			image := mem.Crash(Prefix(k))
			switch b, readErr := image.ReadFile("f"); {
			case readErr != nil:
				t.Fatal(readErr)
			case string(b) == "old" && err != nil:
				old++
			case string(b) == strings.Repeat("new", 1000):
				changed++
			default:
				t.Fatalf("stopped at call %d (%v), item %d: f contains %q", n, err, k, short(string(b)))
			}
		}
		if err == nil {
			break
		}
		wantErr(t, err, ErrStopped)
	}
	if old == 0 || changed < 2 {
		t.Errorf("%d images with the old file, %d with the new one", old, changed)
	}
}
