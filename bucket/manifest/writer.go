package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	"kvd/internal/vfs"
)

// Writer writes edits to both copies. It is not safe for concurrent use.
type Writer struct {
	fs         vfs.FS
	dir        string
	identity   Identity
	generation uint64
	copies     [2]vfs.File
	size       int64  // of each copy, bytes
	chain      uint64 // checksum of the last record
	base       int64  // size after the last rewrite
}

// Rewrite replaces both copies in a store's directory by the given state and returns
// them open for edits. Each copy is replaced as a whole (temporary file, sync, rename,
// sync of the directory), so a crash leaves at least one as it was or as it will be.
// After an error that [vfs.Refuses] recognizes both are as they were.
func Rewrite(fsys vfs.FS, dir string, id Identity, generation uint64, state *State) (*Writer, error) {
	w := &Writer{fs: fsys, dir: dir, identity: id, generation: generation}
	d, err := fsys.OpenDir(dir) // before anything is written, so that it can be refused
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	defer func() { _ = d.Close() }() // it holds nothing
	content, chain := encode(id, generation, state)
	w.chain = chain
	w.size, w.base = int64(len(content)), int64(len(content))
	if err = w.build(content); err == nil {
		err = vfs.WithoutRefusal(w.install(d))
	}
	if err != nil {
		w.Close()
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return w, nil
}

// build makes both copies under temporary names and syncs them.
func (w *Writer) build(content []byte) error {
	for i, name := range Names {
		tmp := path.Join(w.dir, Temporary(name))
		if err := w.fs.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		f, err := w.fs.Open(tmp, vfs.Create)
		if err != nil {
			return err
		}
		w.copies[i] = f
		if _, err := f.WriteAt(content, 0); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// install gives both copies their names, one after the other.
func (w *Writer) install(dir vfs.Dir) error {
	for _, name := range Names {
		if err := w.fs.Rename(path.Join(w.dir, Temporary(name)), path.Join(w.dir, name)); err != nil {
			return err
		}
		if err := dir.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// Temporary returns the name under which a copy is written before it gets its own.
func Temporary(name string) string { return name + ".tmp" }

// EncodedEdit is an edit that is ready to be written behind the newest record.
type EncodedEdit struct {
	record []byte
	chain  uint64 // checksum of the record
}

// Encode prepares an edit. It is valid until the next [Writer.Append].
func (w *Writer) Encode(e *Edit) EncodedEdit {
	record, chain := appendRecord(nil, w.chain, e)
	return EncodedEdit{record, chain}
}

// Generation returns the generation of both copies.
func (w *Writer) Generation() uint64 { return w.generation }

// Size returns the size of each copy in bytes.
func (w *Writer) Size() int64 { return w.size }

// Reserve makes sure that an edit finds room on the disk. An error that matches
// vfs.ErrNoSpace changed nothing.
func (w *Writer) Reserve(e EncodedEdit) error {
	for i, f := range w.copies {
		if err := f.Allocate(w.size, int64(len(e.record))); err != nil {
			return fmt.Errorf("allocate %s: %w", Names[i], err)
		}
	}
	return nil
}

// Append writes an edit to both copies and syncs them. If the disk is full, because the file
// system copies what is overwritten, it writes again as long as makeRoom finds room. After an
// error, which is never a refusal, the copies may differ and the writer must not be
// used again.
func (w *Writer) Append(e EncodedEdit, makeRoom func() bool) error {
	for i, f := range w.copies {
		_, err := f.WriteAt(e.record, w.size)
		for errors.Is(err, vfs.ErrNoSpace) && makeRoom() {
			_, err = f.WriteAt(e.record, w.size)
		}
		if err != nil {
			return vfs.WithoutRefusal(fmt.Errorf("write %s: %w", Names[i], err))
		}
		vfs.Yield()
		if err := f.Sync(); err != nil {
			return vfs.WithoutRefusal(fmt.Errorf("sync %s: %w", Names[i], err))
		}
	}
	w.chain = e.chain
	w.size += int64(len(e.record))
	return nil
}

// Overgrown reports whether the edits outweigh the state that they describe, so that
// [Rewrite] is due.
func (w *Writer) Overgrown() bool {
	const slack = 1 << 20 // bytes of edits that are not worth a rewrite
	return w.size > 4*w.base+slack
}

// Close closes both files. It writes nothing.
func (w *Writer) Close() {
	for _, f := range w.copies {
		if f != nil {
			_ = f.Close() // nothing un-synced is in it
		}
	}
}
