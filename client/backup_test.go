package client

import (
	"bytes"
	"errors"
	"testing"

	"kvd/backup"
	"kvd/kv"
)

func TestBackupOfAServer(t *testing.T) {
	store := openStore(t, t.TempDir())
	s := serve(t, backup.Of(store, store, nil), store.Close)
	ctx := t.Context()
	defer s.stop()
	c := s.dial(t, Options{})
	defer c.Close()
	b, err := c.CreateBucket(ctx, kv.Config{Bucket: "b"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Put(ctx, "k", bytes.Repeat([]byte("value"), 50_000)); err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	taken, err := c.WriteBackup(ctx, &archive, kv.BackupOptions{})
	if err != nil || taken.Size != int64(archive.Len()) || taken.LSN == 0 || taken.Damage != 0 {
		t.Fatalf("%+v, %v", taken, err)
	}
	if _, err := backup.Verify(ctx, "archive", bytes.NewReader(archive.Bytes()), nil); err != nil {
		t.Error(err)
	}
	if _, err := c.WriteBackup(ctx, &archive, kv.BackupOptions{Buckets: []string{"no"}}); !errors.Is(err, kv.ErrBucketNotFound) {
		t.Errorf("backup of a bucket that is not there: %v", err)
	}
	if _, err := c.WriteBackup(ctx, &archive, kv.BackupOptions{Buckets: []string{"a b"}}); !errors.Is(err, kv.ErrInvalidBucketName) {
		t.Errorf("backup of a bucket that cannot be: %v", err)
	}
	full := errors.New("the target is full")
	if _, err := c.WriteBackup(ctx, fullWriter{full}, kv.BackupOptions{}); !errors.Is(err, full) {
		t.Errorf("error of the target: %v", err)
	}
	if _, err := b.Get(ctx, "k"); err != nil {
		t.Error(err)
	}
}

type fullWriter struct{ err error }

func (w fullWriter) Write([]byte) (int, error) { return 0, w.err }
