package fuzz

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"

	"kvd/internal/vfs"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// A check that cannot fail proves nothing. Each bug here breaks one rule, either in the file
// system of the store or in the mutations that the store gets. One of the checks must find
// it.

// seededBug is one broken rule.
type seededBug struct {
	name  string
	found func(t *testing.T, b seededBug) error // the check that must return an error
	fs    brokenFS
	lie   func(*kv.Mutation)
}

var seededBugs = []seededBug{
	{name: "the store's name is not synced", found: byCrash, fs: brokenFS{noSyncDir: "."}},
	{name: "the store's directory is not synced", found: byCrash, fs: brokenFS{noSyncDir: storeDir}},
	{name: "the log's directory is not synced", found: byCrash, fs: brokenFS{noSyncDir: storeDir + "/wal"}},
	{name: "the segments' directory is not synced", found: byCrash, fs: brokenFS{noSyncDir: storeDir + "/seg"}},
	{name: "acknowledged before the log is synced", found: byCrash, fs: brokenFS{noSync: ".wal"}},
	{name: "a new log file is not synced", found: byCrash, fs: brokenFS{noSync: ".wal.tmp"}},
	{name: "segments are not synced", found: byCrash, fs: brokenFS{noSync: ".seg"}},
	{name: "the manifest is not synced", found: byCrash, fs: brokenFS{noSync: "manifest"}},
	{name: "the second manifest is not written", found: byDamage, fs: brokenFS{noWrite: "manifest.2"}},
	{name: "the manifest is written after the files are removed", found: byCompaction, fs: brokenFS{removeFirst: true}},
	{name: "a sealed segment, a compaction's too, is not synced", found: byCompaction, fs: brokenFS{noSealSync: true}},
	{name: "a compaction is in one copy of the manifest alone", found: byDamageAfterCompaction, fs: brokenFS{noEdit: "manifest.2"}},
	{name: "the log is written only in part", found: byCrash, fs: brokenFS{halfWrite: ".wal"}},
	{name: "segments are written only in part", found: byCrash, fs: brokenFS{halfWrite: ".seg"}},
	{name: "segments are written 512 bytes off", found: byCrash, fs: brokenFS{misdirect: ".seg"}},
	{name: "mappings show zeros", found: byCrash, fs: brokenFS{zeroMap: true}},
	{name: "failed syncs are ignored", found: byFault, fs: brokenFS{ignoreSyncErrors: true}},
	{name: "space is not reserved", found: byFull, fs: brokenFS{noAllocate: true}},
	{name: "purge keeps the history", found: byModel, lie: func(m *kv.Mutation) {
		if m.Op == kv.MutatePurge {
			m.Op = kv.MutateDelete
		}
	}},
	{name: "update does not compare", found: byModel, lie: func(m *kv.Mutation) {
		if m.Op == kv.MutateUpdate {
			m.Op = kv.MutatePut
		}
	}},
	{name: "create does not look", found: byModel, lie: func(m *kv.Mutation) {
		if m.Op == kv.MutateCreate {
			m.Op = kv.MutatePut
		}
	}},
	{name: "a value loses its last byte", found: byModel, lie: func(m *kv.Mutation) {
		m.Value = m.Value[:max(0, len(m.Value)-1)]
	}},
	{name: "a marker has no condition", found: byModel, lie: func(m *kv.Mutation) { m.IfLast = false }},
}

// TestSeededBugs runs the checks on stores with a bug.
func TestSeededBugs(t *testing.T) {
	for _, b := range seededBugs {
		t.Run(strings.ReplaceAll(b.name, " ", "_"), func(t *testing.T) {
			if err := b.found(t, b); err == nil {
				t.Error("no check found it")
			} else {
				first, _, _ := strings.Cut(err.Error(), "\n")
				t.Log(first)
			}
		})
	}
}

// plant adds the bug to the workload.
func (b seededBug) plant(load *workload) *workload {
	load.lie = b.lie
	if b.fs != (brokenFS{}) {
		load.bug = func(fs vfs.FS) vfs.FS {
			broken := b.fs
			broken.FS, broken.delayed = fs, &delayedManifest{}
			return &broken
		}
	}
	return load
}

func byCrash(_ *testing.T, b seededBug) error {
	c := newChecks()
	defer c.close()
	for seed := range uint64(12) {
		load := b.plant(generate(seed, 40))
		if err := runSweep(load, plan{samples: 3, nested: 30, goOn: 4}, c); err != nil {
			return err
		}
	}
	return nil
}

func byModel(_ *testing.T, b seededBug) error {
	for seed := range uint64(40) {
		if err := runPlainly(b.plant(generate(seed, 60))); err != nil {
			return err
		}
	}
	return nil
}

func byDamage(t *testing.T, b seededBug) error {
	c := newChecks()
	defer c.close()
	return damageAll(t, b.plant(smallStore()), c, tolerance{losses: 1}, func(d *damageSweep, f stored) {
		if strings.Contains(f.path, "manifest") {
			flipBits(11)(d, f)
		}
	})
}

func byFault(_ *testing.T, b seededBug) error {
	dropped := fault{err: syscall.EIO, drop: true, applies: isKind(simdisk.OpSync)}
	for seed := range uint64(4) {
		load := generate(1000+seed, 30)
		kinds, err := callsOf(load)
		if err != nil {
			return err
		}
		b.plant(load)
		for n, kind := range kinds {
			if kind == simdisk.OpSync {
				if err := suffer(load, &dropped, n, once, func() {}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func byFull(_ *testing.T, b seededBug) error {
	load := b.plant(&workload{})
	for room := range int64(40) {
		if err := fillDisk(fullLoad(room, load.bug), room*4096, func() {}); err != nil {
			return err
		}
	}
	return nil
}

// brokenFS is a file system that breaks a rule for the paths that a field selects: a field
// that begins with a dot is a suffix of the path, any other a part of it.
type brokenFS struct {
	vfs.FS
	noSyncDir        string
	noSync           string
	noWrite          string
	noEdit           string // of the manifest, after its first record
	halfWrite        string
	misdirect        string
	zeroMap          bool
	ignoreSyncErrors bool
	noAllocate       bool
	noSealSync       bool // the sync after a segment was cut to its final size
	removeFirst      bool // segments are removed before the manifest is written
	delayed          *delayedManifest
}

// delayedManifest delays writes to the manifest until a segment is removed or the manifest
// is opened.
type delayedManifest struct{ delayed []func() error }

func (l *delayedManifest) flush() error {
	for _, write := range l.delayed {
		if err := write(); err != nil {
			return err
		}
	}
	l.delayed = nil
	return nil
}

func (b *brokenFS) Remove(path string) error {
	err := b.FS.Remove(path)
	if err == nil && strings.HasSuffix(path, ".seg") {
		err = b.delayed.flush()
	}
	return err
}

func (b *brokenFS) OpenDir(dir string) (vfs.Dir, error) {
	d, err := b.FS.OpenDir(dir)
	if err == nil && dir == b.noSyncDir {
		d = unsyncedDir{d}
	}
	return d, err
}

// unsyncedDir is a directory whose entries no call makes durable.
type unsyncedDir struct{ vfs.Dir }

func (unsyncedDir) Sync() error { return nil }

func (b *brokenFS) Open(path string, mode vfs.Mode) (vfs.File, error) {
	if strings.Contains(path, "manifest") {
		if err := b.delayed.flush(); err != nil {
			return nil, err
		}
	}
	f, err := b.FS.Open(path, mode)
	if err != nil {
		return nil, err
	}
	return &brokenFile{File: f, fs: b, path: path, mode: mode}, nil
}

type brokenFile struct {
	vfs.File
	fs   *brokenFS
	path string
	mode vfs.Mode
	cut  bool // its last call was Truncate
}

func (f *brokenFile) Close() error {
	if f.hit("manifest") {
		if err := f.fs.delayed.flush(); err != nil {
			return err
		}
	}
	return f.File.Close()
}

func (f *brokenFile) Truncate(size int64) error {
	f.cut = true
	return f.File.Truncate(size)
}

// hit reports whether the rule is broken for this file.
func (f *brokenFile) hit(rule string) bool {
	if strings.HasPrefix(rule, ".") {
		return strings.HasSuffix(f.path, rule)
	}
	return rule != "" && strings.Contains(f.path, rule)
}

func (f *brokenFile) Sync() error {
	sealing := f.cut && f.hit(".seg")
	f.cut = false
	if f.fs.noSealSync && sealing || len(f.fs.delayed.delayed) > 0 && f.hit("manifest") {
		return nil
	}
	if f.hit(f.fs.noSync) {
		return nil
	}
	if err := f.File.Sync(); !f.fs.ignoreSyncErrors {
		return err
	}
	return nil
}

func (f *brokenFile) WriteAt(p []byte, off int64) (int, error) {
	if f.fs.removeFirst && off > 0 && f.hit("manifest") {
		p = slices.Clone(p)
		f.fs.delayed.delayed = append(f.fs.delayed.delayed, func() error {
			_, err := f.File.WriteAt(p, off)
			return errors.Join(err, f.File.Sync())
		})
		return len(p), nil
	}
	switch {
	case f.hit(f.fs.noWrite), off > 0 && f.hit(f.fs.noEdit):
		return len(p), nil
	case f.hit(f.fs.halfWrite) && len(p) > 100:
		_, err := f.File.WriteAt(p[:len(p)/2], off)
		return len(p), err
	case f.hit(f.fs.misdirect) && off > 0:
		off += 512
	}
	return f.File.WriteAt(p, off)
}

func (f *brokenFile) Allocate(off, n int64) error {
	if f.fs.noAllocate {
		return nil
	}
	return f.File.Allocate(off, n)
}

func (f *brokenFile) Map(n int64) (vfs.Mapping, error) {
	m, err := f.File.Map(n)
	if err != nil || !f.fs.zeroMap {
		return m, err
	}
	return zeroMapping{m}, nil
}

type zeroMapping struct{ vfs.Mapping }

func (m zeroMapping) ReadAt(p []byte, off int64) (int, error) {
	n, err := m.Mapping.ReadAt(p, off)
	clear(p[:n])
	return n, err
}
