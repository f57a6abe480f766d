// Package damage puts a closed store into the state that damage leaves it in. It is for
// tests of what stands above the engine: servers, clients and the command line.
package damage

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"

	"kvd/bucket/manifest"
	"kvd/internal/vfs"
	"kvd/kv"
	"kvd/segment"
)

// Doubt writes into the manifest of a closed store what damage took from a bucket, as an
// open does that finds the damage, and damages the values that d says are lost. fsys nil is the file system of the system. The error is
// that of package manifest, or says that there is no such bucket.
func Doubt(fsys vfs.FS, dir, bucket string, d manifest.Doubt) error {
	if fsys == nil {
		fsys = vfs.OS()
	}
	found, err := manifest.Load(fsys, dir)
	if err != nil {
		return err
	}
	if found.Best == nil {
		return fmt.Errorf("damage: no store in %s", dir)
	}
	for _, b := range found.Best.State.Buckets {
		if b.Config.Bucket != bucket {
			continue
		}
		b.Doubt = d
		if err := loseValues(fsys, dir, found.Best.Identity, b); err != nil {
			return err
		}
		w, err := manifest.Rewrite(fsys, dir, found.Best.Identity, found.Best.Generation+1, &found.Best.State)
		if err != nil {
			return err
		}
		w.Close()
		return nil
	}
	return fmt.Errorf("damage: no bucket %q in %s", bucket, dir)
}

// loseValues damages the values of the records that a bucket's doubt says are lost.
func loseValues(fsys vfs.FS, dir string, id manifest.Identity, b *manifest.Bucket) error {
	o := segment.Options{FS: fsys, Dir: path.Join(dir, manifest.SegmentDir), StoreID: id.StoreID, Seed: segment.Seed(id.Seed)}
	for _, s := range b.Segments {
		err := segment.Tail(o, s.Number, b.ID, segment.HeaderSize, func(r *segment.TailRecord) error {
			if !slices.Contains(b.Doubt.Lost, manifest.LostRecord{Revision: r.Revision, Key: string(r.Key)}) {
				return nil
			}
			last := len(r.Encoded) - 1
			return overwrite(fsys, path.Join(o.Dir, segment.FileName(s.Number)), r.Offset+int64(last), r.Encoded[last]^1)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// overwrite changes one byte of a file.
func overwrite(fsys vfs.FS, name string, offset int64, to byte) error {
	file, err := fsys.Open(name, vfs.ReadWrite)
	if err != nil {
		return err
	}
	_, err = file.WriteAt([]byte{to}, offset)
	return errors.Join(err, file.Close())
}

// Fill makes bucket "b" of history 2 with the records that [Example] is about: above revision
// 4 it has one value, of key "new".
func Fill(ctx context.Context, s kv.Store) error {
	b, err := s.CreateBucket(ctx, kv.Config{Bucket: "b", History: 2})
	if err != nil {
		return err
	}
	for _, key := range []string{"lost", "old", "old", "k", "new"} {
		if _, err := b.PutString(ctx, key, "v"); err != nil {
			return err
		}
	}
	return nil
}

// Example is a doubt with one of everything: two records above revision 2 and up to
// revision 4 are missing, and the value of the record with revision 1 of key "lost" is.
func Example() manifest.Doubt {
	return manifest.Doubt{
		Bound: 4,
		Holes: []manifest.Hole{{After: 2, UpTo: 4, Records: 2, File: "seg/00000000000000ff.seg", Offset: 4096}},
		Lost:  []manifest.LostRecord{{Key: "lost", Revision: 1}},
	}
}
