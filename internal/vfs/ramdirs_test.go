package vfs_test

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"

	"kvd/internal/vfs"
)

func TestRAMDirectoriesAndLocks(t *testing.T) {
	fsys := vfs.NewRAM()
	want := func(what string, err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	list := func() string {
		t.Helper()
		infos, err := fsys.List("d")
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(infos)
	}
	want("make d", fsys.Mkdir("d"), nil)
	want("make d again", fsys.Mkdir("d/"), fs.ErrExist)
	want("make d/sub", fsys.Mkdir("d/sub"), nil)
	f, err := fsys.Open("d/f", vfs.Create)
	want("create d/f", err, nil)
	_, err = f.WriteAt([]byte("bytes"), 0)
	want("write", err, nil)
	want("make what a file is", fsys.Mkdir("d/f"), fs.ErrExist)
	if got := list(); got != "[{f 5 false} {sub 0 true}]" {
		t.Errorf("d holds %s", got)
	}
	want("rename over a directory", fsys.Rename("d/f", "d/sub"), fs.ErrExist)
	want("rename nothing", fsys.Rename("d/none", "d/g"), fs.ErrNotExist)
	want("rename", fsys.Rename("d/f", "d/sub/g"), nil)
	want("remove a directory that is not empty", fsys.Remove("d/sub"), fs.ErrInvalid)
	info, err := fsys.Stat("d/sub/g")
	if err != nil || info.Size != 5 {
		t.Errorf("the file renamed is %+v, %v", info, err)
	}
	want("remove", fsys.Remove("d/sub/g"), nil)
	want("remove an empty directory", fsys.Remove("d/sub"), nil)
	want("remove nothing", fsys.Remove("d/sub"), fs.ErrNotExist)
	if info, err := fsys.Stat("d"); err != nil || !info.Dir {
		t.Errorf("d is %+v, %v", info, err)
	}

	lock, err := fsys.Lock("d/lock")
	want("lock", err, nil)
	var locked *vfs.LockedError
	if _, err := fsys.Lock("d/lock"); !errors.As(err, &locked) {
		t.Errorf("locked twice: %v", err)
	}
	want("unlock", lock.Close(), nil)
	want("unlock again", lock.Close(), fs.ErrClosed)
	_, err = fsys.Lock("d/lock")
	want("lock again", err, nil)
}
