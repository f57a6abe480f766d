//go:build linux || darwin

package simdisk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"kvd/internal/vfs"
)

// TestDiskAgreesWithOS makes the same random calls on both and compares what they
// return, errors included, and the files afterwards.
func TestDiskAgreesWithOS(t *testing.T) {
	seen := make(map[string]int) // call and outcome: how often
	for seed := range uint64(24) {
		mem, sys := newCaller(New(), "/"), newCaller(vfs.OS(), t.TempDir())
		must(t, mem.fs.Mkdir("/root"))
		must(t, sys.fs.Mkdir(filepath.Join(sys.root, "root")))
		r := rand.New(rand.NewPCG(seed, 1))
		var log []string
		for range 200 {
			step := randomStep(r)
			got, want := step.run(mem), step.run(sys)
			log = append(log, fmt.Sprintf("%s: %s", step.name, short(want)))
			if got != want {
				t.Fatalf("seed %d: Disk returns %s, the system %s; the last calls:\n%q",
					seed, short(got), short(want), log[max(0, len(log)-12):])
			}
			seen[step.call+" "+want[:min(len(want), 8)]]++
		}
		mem.closeAll()
		sys.closeAll()
	}
	for _, outcome := range []string{"Open ok", "Open ENOENT", "Open EEXIST", "Open EISDIR", "Mkdir EEXIST", "Remove ok",
		"Remove ENOTEMPT", "Rename ok", "Rename ENOENT", "Rename EEXIST", "ReadAt EOF", "WriteAt ok", "MapRead fault",
		"Lock locked", "IsAt true ok", "IsAt false ok", "Open ENOTDIR", "Truncate ok", "Allocate ok", "SyncDir ok", "WriteAt error"} {
		found := false
		for s := range seen {
			found = found || len(s) >= len(outcome) && s[:len(outcome)] == outcome
		}
		if !found {
			t.Errorf("the random calls never caused %q", outcome)
		}
	}
}

// caller is a file system with the handles that a sequence of calls has open.
type caller struct {
	fs    vfs.FS
	root  string
	files []vfs.File
	maps  []vfs.Mapping
	sizes []int64 // of the mappings
	locks []io.Closer
}

func newCaller(fs vfs.FS, root string) *caller { return &caller{fs: fs, root: root} }

func (c *caller) closeAll() {
	for _, f := range c.files {
		f.Close()
	}
	for _, m := range c.maps {
		m.Close()
	}
	for _, l := range c.locks {
		l.Close()
	}
}

// step is one call, to be made of either implementation.
type step struct {
	call, name string
	run        func(c *caller) string
}

// outcome names the errors that callers may branch on.
func outcome(err error) string {
	var errno syscall.Errno
	var locked *vfs.LockedError
	switch {
	case err == nil:
		return "ok"
	case err == io.EOF:
		return "EOF"
	case errors.As(err, &locked):
		return fmt.Sprintf("locked by %d", locked.PID)
	case errors.Is(err, vfs.ErrFault):
		return "fault"
	case errors.Is(err, fs.ErrClosed):
		return "closed"
	case errors.As(err, &errno):
		for name, e := range map[string]syscall.Errno{"ENOENT": syscall.ENOENT, "EEXIST": syscall.EEXIST, "ENOTDIR": syscall.ENOTDIR,
			"EISDIR": syscall.EISDIR, "ENOTEMPTY": syscall.ENOTEMPTY} {
			if errno == e {
				return name
			}
		}
	}
	return "error"
}

// randomStep returns a call with its arguments. Handles are chosen by number
// among those open, so both implementations use the same.
func randomStep(r *rand.Rand) step {
	paths := []string{"a", "b", "d", "d/a", "d/b", "d/e", "d/e/a", "a/x"}
	path, other := paths[r.IntN(len(paths))], paths[r.IntN(len(paths))]
	dir := []string{".", ".", "d", "d/e", "a"}[r.IntN(5)]
	handle, off, n := r.IntN(8), int64(r.IntN(20000)), 1+r.IntN(9000)
	if r.IntN(20) == 0 {
		off = -1
	}
	data := make([]byte, n)
	if r.IntN(3) > 0 {
		for i := range data {
			data[i] = byte(r.Uint32())
		}
	}
	on := func(call string, arg any, run func(c *caller, f vfs.File) string) step {
		return step{call, fmt.Sprintf("%s(#%d, %v)", call, handle, arg), func(c *caller) string {
			if len(c.files) == 0 {
				return "no file"
			}
			return run(c, c.files[handle%len(c.files)])
		}}
	}
	at := func(call, path string, run func(c *caller, path string) string) step {
		return step{call, call + "(" + path + ")", func(c *caller) string {
			return run(c, filepath.Join(c.root, "root", path))
		}}
	}
	switch r.IntN(24) {
	case 0, 1, 2, 3:
		mode := vfs.Mode(1 + r.IntN(3))
		return at("Open", path, func(c *caller, path string) string {
			f, err := c.fs.Open(path, mode)
			if err == nil {
				c.files = append(c.files, f)
			}
			return outcome(err)
		})
	case 4, 5:
		return at("Mkdir", []string{"d", "d/e", "a"}[r.IntN(3)], func(c *caller, path string) string { return outcome(c.fs.Mkdir(path)) })
	case 6, 7:
		return at("Rename", path+" "+other, func(c *caller, _ string) string {
			return outcome(c.fs.Rename(filepath.Join(c.root, "root", path), filepath.Join(c.root, "root", other)))
		})
	case 8:
		return at("Remove", path, func(c *caller, path string) string { return outcome(c.fs.Remove(path)) })
	case 9:
		return at("List", dir, func(c *caller, path string) string {
			infos, err := c.fs.List(path)
			infos = slices.DeleteFunc(infos, func(i vfs.Info) bool { return i.Name == "LOCK" }) // Disk writes no pid
			return fmt.Sprintf("%s %+v", outcome(err), infos)
		})
	case 10:
		if r.IntN(2) == 0 {
			return step{"IsAt", fmt.Sprintf("IsAt(#%d, %s)", handle, path), func(c *caller) string {
				if len(c.files) == 0 {
					return "no file"
				}
				is, err := c.files[handle%len(c.files)].IsAt(filepath.Join(c.root, "root", path))
				return fmt.Sprintf("%t %s", is, outcome(err))
			}}
		}
		return at("Stat", path, func(c *caller, path string) string {
			info, err := c.fs.Stat(path)
			return fmt.Sprintf("%s %+v", outcome(err), info)
		})
	case 11:
		return at("SyncDir", dir, func(c *caller, path string) string { return outcome(vfs.SyncDir(c.fs, path)) })
	case 12:
		return at("Lock", "LOCK", func(c *caller, path string) string {
			l, err := c.fs.Lock(path)
			if err == nil {
				c.locks = append(c.locks, l)
			}
			return outcome(err)
		})
	case 13:
		return step{"Unlock", "Unlock", func(c *caller) string {
			if len(c.locks) == 0 {
				return "no lock"
			}
			l := c.locks[len(c.locks)-1]
			c.locks = c.locks[:len(c.locks)-1]
			return outcome(l.Close())
		}}
	case 14, 15:
		return on("ReadAt", [2]any{off, n}, func(_ *caller, f vfs.File) string {
			p := make([]byte, n)
			n, err := f.ReadAt(p, off)
			return fmt.Sprintf("%s %d %x", outcome(err), n, p)
		})
	case 16, 17, 18:
		return on("WriteAt", [2]any{off, n}, func(_ *caller, f vfs.File) string {
			n, err := f.WriteAt(data, off)
			return fmt.Sprintf("%s %d", outcome(err), n)
		})
	case 19:
		return on("Truncate", off, func(_ *caller, f vfs.File) string { return outcome(f.Truncate(off)) })
	case 20:
		return on("Allocate", [2]any{off, n}, func(_ *caller, f vfs.File) string { return outcome(f.Allocate(off, int64(n))) })
	case 21:
		return on("WriteBack and Sync", [2]any{off, n}, func(_ *caller, f vfs.File) string {
			return outcome(f.WriteBack(max(off, 0), int64(n), true)) + " " + outcome(f.Sync())
		})
	case 22:
		if r.IntN(4) > 0 {
			return on("Map", off, func(c *caller, f vfs.File) string {
				m, err := f.Map(off)
				if err == nil {
					c.maps, c.sizes = append(c.maps, m), append(c.sizes, off)
				}
				size, sizeErr := f.Size()
				return fmt.Sprintf("%s %d %s", outcome(err), size, outcome(sizeErr))
			})
		}
		return step{"Close", fmt.Sprintf("Close(#%d)", handle), func(c *caller) string {
			if len(c.files) == 0 {
				return "no file"
			}
			i := handle % len(c.files)
			f := c.files[i]
			c.files = slices.Delete(c.files, i, i+1)
			return outcome(f.Close()) + " " + outcome(f.Close())
		}}
	default:
		return step{"MapRead", fmt.Sprintf("MapRead(#%d, %d, %d)", handle, off, n), func(c *caller) string {
			if len(c.maps) == 0 {
				return "no mapping"
			}
			return c.readMapping(handle%len(c.maps), off, n)
		}}
	}
}

// readMapping reads only where both agree. It does not read between the end of the file
// and the end of its page: there the system shows zeros and Disk returns an error. Whole
// pages beyond the end are errors for both.
func (c *caller) readMapping(i int, off int64, n int) string {
	if off >= 0 {
		off -= off % pageSize
		n = min(n, pageSize)
	}
	p := make([]byte, n)
	got, err := c.maps[i].ReadAt(p, off)
	if mem, ok := c.maps[i].(*mapping); ok {
		if end := off + min(int64(n), max(mem.size-off, 0)); off < mem.node.faces[live].content.size && errors.Is(err, vfs.ErrFault) {
			p, got, err = make([]byte, n), int(end-off), nil
			mem.node.faces[live].content.read(p[:got], off)
			if got < n {
				err = io.EOF
			}
		}
	}
	return fmt.Sprintf("%s %d %x", outcome(err), got, p)
}
