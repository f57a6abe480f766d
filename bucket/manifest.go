package bucket

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/cespare/xxhash/v2"

	"kvd/internal/vfs"
	"kvd/kv"
)

// The manifest is the only authority on which files a store has. It is a log of
// edits in two copies, each written in this order: copy 1, sync, copy 2, sync.
//
// A copy begins with a header:
//
//	offset  size  field
//	0       8     magic "kvdMANIF"
//	8       4     format version
//	12      4     zero
//	16      16    store id
//	32      8     seed of all record checksums
//	40      8     generation: raised by every rewrite
//	48      8     XXH64, seed 0, of the 48 bytes before
//
// and goes on with records, each 8-byte aligned:
//
//	0       4     length of the body, bytes
//	4       4     zero
//	8       8     XXH64 of the 8 bytes before and the body; its seed is the checksum
//	              before this one: of the record before, or of the header
//	16      …     body: an edit, zero-padded to 8
//
// Numbers are little-endian. An edit is a sequence of parts, each a tag and what
// belongs to it, all numbers uvarints of package binary:
//
//	tag  part
//	1    log position: every frame up to this LSN is in the segments
//	2    clock, unix ns: no record is younger
//	3    file numbers: those from this one on were never handed out
//	4    the highest id ever given to a bucket
//	5    a bucket, whole: id, created (unix ns), log position, next revision, keys,
//	     expired, forgotten (two revisions), lapsed (unix ns), aged, number of cuts,
//	     each cut (revision, records kept), length of the configuration, the
//	     configuration as JSON, number of segments, each segment (number, size, last
//	     index block, limit, sealed, highest revision dropped)
//	6    id of a bucket that is gone
//	7    of the bucket in the part that follows, if it is not 0: the highest revision
//	     of a record that compaction dropped when it was the newest of its key
//	8    no more than the tag: the store was closed in good order; void once an
//	     edit follows
//	9    of the bucket in the part that follows: two revisions, between which some
//	     were told and taken by a crash; as often as that happened, ascending
//
// The first record is the whole state; the checksums form a chain, so a record
// counts only behind all its predecessors. Opening takes the copy of the higher
// generation with a valid first record, and of two of one generation the one
// with more valid records.
//
// What a reader does: zeros behind the last record are room that was not used. A
// record that does not validate ends the copy; it is the mark of a crash where
// the copies differ as the order of writing makes them, else damage. Damage in
// one copy is reported and costs nothing; a copy with a bad header or first
// record does not count. An unknown version or tag is kv.ErrVersion, whatever
// the other copy says. In every later version magic, version and the checksum
// of the header stand where they do now.
//
// A manifest of two records; the first says that file numbers from 65,537 on
// are free, the second has log position 300, highest id 2, and bucket 2 gone:
//
//	0000  6b 76 64 4d 41 4e 49 46  01 00 00 00 00 00 00 00  magic, version
//	0010  00 01 02 03 04 05 06 07  08 09 0a 0b 0c 0d 0e 0f  store id
//	0020  88 77 66 55 44 33 22 11  01 00 00 00 00 00 00 00  seed, generation
//	0030  3e 37 0d b5 55 2f 24 3b  04 00 00 00 00 00 00 00  checksum; length 4
//	0040  e0 24 d2 a2 a8 19 2f b1  03 81 80 04 00 00 00 00  checksum, tag 3
//	0050  07 00 00 00 00 00 00 00  48 7c 27 b1 37 7e 58 82  length 7, checksum
//	0060  01 ac 02 04 02 06 02 00                           tags 1, 4 and 6
const (
	manifestMagic      = "kvdMANIF"
	manifestVersion    = 1
	manifestHeaderSize = 56
	manifestRecordHead = 16
	manifestMaxRecord  = 1 << 30 // bytes; a bound before allocating, not a target
)

// manifestNames are the copies, in the order they are written.
var manifestNames = [2]string{"manifest.1", "manifest.2"}

// identity is what never changes about a store.
type identity struct {
	storeID [16]byte
	seed    uint64
}

// manifest writes edits to both copies. One goroutine at a time: the holder of
// the checkpoint lock.
type manifest struct {
	fs         vfs.FS
	dir        string
	identity   identity
	generation uint64
	copies     [2]vfs.File
	size       int64  // of each copy, bytes
	chain      uint64 // checksum of the last record
	base       int64  // size after the last rewrite
}

// appendManifestHeader encodes the header and returns its checksum, where the
// chain begins.
func appendManifestHeader(dst []byte, id identity, generation uint64) ([]byte, uint64) {
	start := len(dst)
	dst = append(dst, manifestMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, manifestVersion)
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	dst = append(dst, id.storeID[:]...)
	dst = binary.LittleEndian.AppendUint64(dst, id.seed)
	dst = binary.LittleEndian.AppendUint64(dst, generation)
	sum := xxhash.Sum64(dst[start:])
	return binary.LittleEndian.AppendUint64(dst, sum), sum
}

// appendManifestRecord encodes one record behind the given chain.
func appendManifestRecord(dst []byte, chain uint64, e *edit) ([]byte, uint64) {
	head := len(dst)
	dst = append(dst, make([]byte, manifestRecordHead)...)
	dst = e.append(dst)
	body := len(dst) - head - manifestRecordHead
	binary.LittleEndian.PutUint32(dst[head:], uint32(body))
	sum := manifestSum(chain, dst[head:head+8], dst[head+manifestRecordHead:])
	binary.LittleEndian.PutUint64(dst[head+8:], sum)
	for (len(dst)-head)%8 != 0 {
		dst = append(dst, 0)
	}
	return dst, sum
}

func manifestSum(chain uint64, lengths, body []byte) uint64 {
	var d xxhash.Digest
	d.ResetWithSeed(chain)
	_, _ = d.Write(lengths) // never fails
	_, _ = d.Write(body)
	return d.Sum64()
}

// manifestCopy is what one copy was found to hold.
type manifestCopy struct {
	identity   identity
	generation uint64
	records    int // valid ones
	state      manifestState
	damage     *kv.CorruptError // where the valid part ends, if anything but zeros follows
}

// decodeManifest reads a copy as far as it is valid. It fails where the header
// or the first record is not.
func decodeManifest(file string, b []byte) (manifestCopy, error) {
	var c manifestCopy
	corrupt := func(offset int, detail string) *kv.CorruptError {
		return &kv.CorruptError{File: file, Offset: int64(offset), Detail: detail}
	}
	if len(b) < manifestHeaderSize || string(b[:8]) != manifestMagic {
		return c, corrupt(0, "not a manifest")
	}
	sum := binary.LittleEndian.Uint64(b[48:])
	if xxhash.Sum64(b[:48]) != sum {
		return c, corrupt(0, "manifest header checksum")
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != manifestVersion {
		return c, fmt.Errorf("%w: %s has version %d, this program knows %d", kv.ErrVersion, file, v, manifestVersion)
	}
	copy(c.identity.storeID[:], b[16:])
	c.identity.seed = binary.LittleEndian.Uint64(b[32:])
	c.generation = binary.LittleEndian.Uint64(b[40:])
	c.state.init()
	for off := manifestHeaderSize; off < len(b); {
		body, next, chain, ok := cutManifestRecord(b, off, sum)
		if !ok {
			if len(bytes.TrimLeft(b[off:], "\x00")) > 0 { // else: room that was reserved and not used
				c.damage = corrupt(off, fmt.Sprintf("manifest record %d is damaged or unfinished", c.records+1))
			}
			break
		}
		if err := c.state.apply(body); err != nil {
			if errors.Is(err, kv.ErrVersion) {
				return c, err
			}
			return c, corrupt(off, fmt.Sprintf("manifest record %d: %v", c.records+1, err))
		}
		off, sum = next, chain
		c.records++
	}
	if c.records == 0 {
		if c.damage == nil {
			c.damage = corrupt(manifestHeaderSize, "manifest without a record")
		}
		return c, c.damage
	}
	return c, nil
}

// cutManifestRecord checks the record at off against the chain so far.
func cutManifestRecord(b []byte, off int, chain uint64) (body []byte, next int, sum uint64, ok bool) {
	if len(b)-off < manifestRecordHead {
		return nil, 0, 0, false
	}
	head := b[off : off+manifestRecordHead]
	size := int64(binary.LittleEndian.Uint32(head))
	if size > manifestMaxRecord || size > int64(len(b)-off-manifestRecordHead) {
		return nil, 0, 0, false
	}
	body = b[off+manifestRecordHead:][:size]
	sum = binary.LittleEndian.Uint64(head[8:])
	if manifestSum(chain, head[:8], body) != sum {
		return nil, 0, 0, false
	}
	next = min(len(b), off+manifestRecordHead+int(size+7)&^7)
	return body, next, sum, true
}

// manifestFound is what the two copies come to.
type manifestFound struct {
	best    *manifestCopy // the one that counts; nil if the directory has neither
	damages []*kv.CorruptError
	notes   []string
}

// loadManifest reads both copies.
func loadManifest(fsys vfs.FS, dir string) (manifestFound, error) {
	var m manifestFound
	var copies [2]*manifestCopy // nil: missing or unreadable
	var unreadable error
	for i, name := range manifestNames {
		file := path.Join(dir, name)
		b, err := readFile(fsys, file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var c manifestCopy
		if err == nil {
			c, err = decodeManifest(file, b)
		}
		var damage *kv.CorruptError
		switch {
		case err == nil:
			copies[i] = &c
		case errors.As(err, &damage):
			m.damages = append(m.damages, damage)
			unreadable = errors.Join(unreadable, err)
		default:
			return m, err
		}
	}
	for i, c := range copies {
		if c == nil {
			continue
		}
		if m.best == nil || c.generation > m.best.generation ||
			c.generation == m.best.generation && c.records > m.best.records {
			m.best = c
		}
		switch other := copies[1-i]; {
		case c.damage == nil:
		case c.interrupted(i, other):
			m.notes = append(m.notes, fmt.Sprintf("%s ends with an unfinished record, as a crash leaves it", c.damage.File))
		default:
			m.damages = append(m.damages, c.damage)
		}
	}
	if m.best == nil && unreadable != nil {
		return m, fmt.Errorf("both copies of the manifest are unreadable: %w", unreadable)
	}
	return m, nil
}

// interrupted reports whether a crash explains what is wrong with the i-th copy:
// an edit is written to the first, synced, and only then written to the second.
// The next open replaces them in that order too, and may be cut off in between.
func (c *manifestCopy) interrupted(i int, other *manifestCopy) bool {
	if other == nil || other.damage != nil {
		return false
	}
	if other.generation != c.generation {
		return i == 1 && other.generation == c.generation+1
	}
	return other.records == c.records+i
}

// readFile returns the content of a file.
func readFile(fsys vfs.FS, file string) ([]byte, error) {
	f, err := fsys.Open(file, vfs.ReadOnly)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > manifestMaxRecord {
		return nil, &kv.CorruptError{File: file, Offset: -1, Detail: fmt.Sprintf("%d bytes are more than a manifest may have", size)}
	}
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return b, nil
}

// rewriteManifest replaces both copies by the given state and returns them open
// for edits. Each copy is replaced whole (temporary file, sync, rename,
// directory sync), so a crash leaves at least one as it was or as it will be. An
// error matching vfs.ErrNoSpace left both as they were.
func rewriteManifest(fsys vfs.FS, dir string, id identity, generation uint64, state *manifestState) (*manifest, error) {
	m := &manifest{fs: fsys, dir: dir, identity: id, generation: generation}
	content, sum := appendManifestHeader(nil, id, generation)
	content, m.chain = appendManifestRecord(content, sum, state.snapshot())
	m.size, m.base = int64(len(content)), int64(len(content))
	err := m.build(content)
	if err == nil {
		err = noRetry(m.install())
	}
	if err != nil {
		m.close()
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return m, nil
}

// build makes both copies under temporary names, and syncs them.
func (m *manifest) build(content []byte) error {
	for i, name := range manifestNames {
		tmp := path.Join(m.dir, temporary(name))
		if err := m.fs.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		f, err := m.fs.Open(tmp, vfs.Create)
		if err != nil {
			return err
		}
		m.copies[i] = f
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
func (m *manifest) install() error {
	for _, name := range manifestNames {
		if err := m.fs.Rename(path.Join(m.dir, temporary(name)), path.Join(m.dir, name)); err != nil {
			return err
		}
		if err := m.fs.SyncDir(m.dir); err != nil {
			return err
		}
	}
	return nil
}

func temporary(name string) string { return name + ".tmp" }

// append writes an encoded record to both copies. After an error the copies may
// differ and the manifest must not be used again.
func (m *manifest) append(record []byte, chain uint64) error {
	for i, f := range m.copies {
		if _, err := f.WriteAt(record, m.size); err != nil {
			return fmt.Errorf("write %s: %w", manifestNames[i], err)
		}
		if err := f.Sync(); err != nil {
			return fmt.Errorf("sync %s: %w", manifestNames[i], err)
		}
	}
	m.chain = chain
	m.size += int64(len(record))
	return nil
}

// reserve makes sure that an edit of n bytes will find room.
func (m *manifest) reserve(n int64) error {
	for i, f := range m.copies {
		if err := f.Allocate(m.size, n); err != nil {
			return fmt.Errorf("allocate %s: %w", manifestNames[i], err)
		}
	}
	return nil
}

// overgrown reports whether the edits outweigh the state they describe.
func (m *manifest) overgrown() bool {
	const slack = 1 << 20 // bytes of edits that are not worth a rewrite
	return m.size > 4*m.base+slack
}

func (m *manifest) close() {
	for _, f := range m.copies {
		if f != nil {
			_ = f.Close() // nothing un-synced is in it
		}
	}
}
