package wal_test

import (
	"errors"
	"fmt"

	"kvd/internal/vfs/simdisk"
	"kvd/wal"
)

// A log is replayed, started after its last frame, and written to in groups.
func Example() {
	disk := simdisk.New()
	_ = disk.Mkdir("log")
	var words wal.Words // of the next frame; this user counts its groups alone
	for session := range 2 {
		reader, err := wal.Open(wal.Options{FS: disk, Dir: "log"})
		if err != nil {
			fmt.Println(err)
			return
		}
		found, err := reader.Replay(wal.Wanted{From: 1, Frame: func(f wal.Frame) error {
			fmt.Printf("session %d found %d: %q\n", session, f.LSN, f.Payload)
			return nil
		}})
		if err != nil || len(found.Holes) > 0 {
			fmt.Println(err, found.Holes)
			return
		}
		log, err := reader.Start(found.End, words)
		if err != nil {
			fmt.Println(err)
			return
		}
		var buf []byte
		for _, group := range []string{"puts", "more puts"} {
			if err := log.Reserve(len(group)); err != nil {
				fmt.Println(err) // refused, or broken: see Reserve
				return
			}
			buf = append(wal.NewFrame(buf), group...)
			words.Records++
			if _, err := log.Append(buf, int64(session), words); err != nil {
				fmt.Println(err)
				return
			}
			if err := log.Sync(); err != nil {
				fmt.Println(err)
				return
			}
		}
		err = log.Vouch(int64(session), words)
		if err := errors.Join(err, log.Close()); err != nil {
			fmt.Println(err)
		}
	}
	// Output:
	// session 1 found 1: "puts"
	// session 1 found 2: "more puts"
	// session 1 found 3: ""
}
