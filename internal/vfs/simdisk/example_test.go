package simdisk_test

import (
	"fmt"

	"kvd/internal/vfs"
	"kvd/internal/vfs/simdisk"
)

// A synced write survives every power cut, an unsynced write survives only some.
// A file whose directory was not synced may be missing.
func ExampleDisk_Crash() {
	disk := simdisk.New()
	f, _ := disk.Open("log", vfs.Create)
	f.WriteAt([]byte("one "), 0)
	f.Sync()
	vfs.SyncDir(disk, "/")
	f.WriteAt([]byte("two"), 4)
	disk.Open("other", vfs.Create)

	for i := range disk.Pending() {
		image := disk.Crash(simdisk.Only(i))
		log, _ := image.ReadFile("log")
		_, err := image.Stat("other")
		fmt.Printf("item %d: log %q, other %v\n", i, log, err == nil)
	}
	// Output:
	// item 0: log "one ", other false
	// item 1: log "one \x00\x00\x00", other false
	// item 2: log "one ", other true
}

// FailNth finds the calls whose errors the program ignores.
func ExampleFault() {
	work := func(fs vfs.FS) error {
		f, err := fs.Open("log", vfs.Create)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte("one"), 0); err != nil {
			return err
		}
		return f.Sync()
	}
	for n := int64(1); ; n++ {
		disk := simdisk.NewFault(simdisk.New())
		disk.Inject(simdisk.FailNth(n, fmt.Errorf("broken")))
		err := work(disk)
		if disk.Calls() < n {
			break
		}
		fmt.Println(err)
	}
	// Output:
	// open log: broken
	// write log: broken
	// sync log: broken
}
