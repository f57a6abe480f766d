package kv

import (
	"context"
	"io"
)

// Backuper is a [Store] that writes backups of itself: what "kvd backup" makes. [As] finds it.
type Backuper interface {
	// WriteBackup writes the buckets of those names, or all where none is named, as they were at one
	// moment, to w. Reads and writes go on. After an error w has no whole backup.
	WriteBackup(ctx context.Context, w io.Writer, o BackupOptions) (BackupTaken, error)
}

// BackupOptions says what a [Backuper] writes, and how fast.
type BackupOptions struct {
	Buckets []string // names; none: all
	Rate    int64    // most bytes a second that are read from the disk; 0: there is no bound
}

// BackupTaken says what a [Backuper] has written.
type BackupTaken struct {
	LSN    uint64   // position of the store's log: the backup has everything up to it
	Size   int64    // of the backup, bytes
	SHA256 [32]byte // of the backup
	Damage int      // places of the store that were damaged; the backup says where
}
