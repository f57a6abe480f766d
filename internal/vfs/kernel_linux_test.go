package vfs

import (
	"errors"
	"path/filepath"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Sync that does nothing looks like one that works until the power fails. So the kernel is
// told to refuse syncs, and both calls have to return its error.
func TestSyncsReachTheKernel(t *testing.T) {
	dir := t.TempDir()
	f, err := OS().Open(filepath.Join(dir, "file"), Create)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	calls := map[string]func() error{"Sync": f.Sync, "SyncDir": func() error { return SyncDir(OS(), dir) }}
	for name, call := range calls {
		if err := call(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	err = withoutSyncs(func() {
		for name, call := range calls {
			if err := call(); !errors.Is(err, unix.EIO) {
				t.Errorf("%s returned %v although the kernel refuses to sync", name, err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// withoutSyncs calls f on a thread of its own for which the kernel refuses fsync and fdatasync
// with EIO. The thread ends with the call.
func withoutSyncs(f func()) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocks, so the thread ends with the goroutine
		err := refuseSyncs()
		if err == nil {
			f()
		}
		done <- err
	}()
	return <-done
}

// refuseSyncs installs a filter of system calls for the calling thread.
func refuseSyncs() error {
	const number = 0 // offset of the call's number in what a filter is given
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: number},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_FSYNC, Jt: 2},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_FDATASYNC, Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EIO)},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
}
