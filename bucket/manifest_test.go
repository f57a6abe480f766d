package bucket

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"os"
	"path"
	"reflect"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"

	"kvd/internal/vfs"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// sampleManifest returns a copy with the given generation, one record a state.
// The states are what it says after each record.
func sampleManifest(generation uint64) (b []byte, ends []int, states []manifestState) {
	edits := []*edit{
		{numbers: 1 << 16, clock: 7},
		sampleEdit(),
		{logLow: 500, deleted: []uint64{7}},
	}
	b, chain := appendManifestHeader(nil, testIdentity, generation)
	var s manifestState
	s.init()
	for _, e := range edits {
		b, chain = appendManifestRecord(b, chain, e)
		s.merge(e)
		var copied manifestState
		copied.init()
		copied.merge(s.snapshot())
		ends, states = append(ends, len(b)), append(states, copied)
	}
	return b, ends, states
}

func TestAManifestComesBackAsItWas(t *testing.T) {
	b, _, states := sampleManifest(4)
	c, err := decodeManifest("m", b)
	if err != nil {
		t.Fatal(err)
	}
	want := manifestCopy{identity: testIdentity, generation: 4, records: 3, state: states[2]}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v, want %+v", c, want)
	}
	golden(t, "manifest", b)
}

// The hex in the doc comment of manifest.go is a manifest.
func TestTheManifestOfTheDocumentation(t *testing.T) {
	b, chain := appendManifestHeader(nil, identity{storeID: [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, seed: 0x1122334455667788}, 1)
	b, chain = appendManifestRecord(b, chain, &edit{numbers: 65537})
	b, _ = appendManifestRecord(b, chain, &edit{logLow: 300, maxBucketID: 2, deleted: []uint64{2}})
	source, err := os.ReadFile("manifest.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(hex.Dump(b)), "\n") {
		line = line[4:strings.Index(line, "|")] // offset, bytes
		words := strings.Join(strings.Fields(line), " ")
		found := false
		for _, s := range strings.Split(string(source), "\n") {
			found = found || strings.HasPrefix(strings.Join(strings.Fields(strings.TrimPrefix(s, "//")), " "), words)
		}
		if !found {
			t.Errorf("the documentation lacks %s", words)
		}
	}
}

// wantPrefix fails the test unless a decoded copy is what the manifest said
// after one of its records.
func wantPrefix(t *testing.T, what string, c manifestCopy, states []manifestState) {
	t.Helper()
	if c.records < 1 || c.records > len(states) || c.identity != testIdentity || !reflect.DeepEqual(c.state, states[c.records-1]) {
		t.Errorf("%s: %d records come to %+v", what, c.records, c)
	}
}

func TestAManifestCutAnywhereHoldsItsWholeRecords(t *testing.T) {
	b, ends, states := sampleManifest(4)
	for n := range len(b) + 1 {
		whole, start := 0, manifestHeaderSize
		for whole < len(ends) && n >= start+manifestRecordHead+int(binary.LittleEndian.Uint32(b[start:])) {
			start = ends[whole]
			whole++
		}
		c, err := decodeManifest("m", b[:n])
		if whole == 0 {
			wantError(t, err, kv.ErrCorrupt)
			continue
		}
		if err != nil || c.records != whole || (c.damage != nil) != (n > start) {
			t.Errorf("cut at %d: %d records, damage %v, error %v; want %d records", n, c.records, c.damage, err, whole)
			continue
		}
		wantPrefix(t, "cut", c, states)
	}
}

func TestEveryFlippedBitOfAManifestIsFound(t *testing.T) {
	b, ends, states := sampleManifest(4)
	for i := range b {
		for bit := range 8 {
			b[i] ^= 1 << bit
			c, err := decodeManifest("m", b)
			b[i] ^= 1 << bit
			switch {
			case err != nil:
				if !errors.Is(err, kv.ErrCorrupt) || i >= ends[0] {
					t.Errorf("byte %d, bit %d: %v", i, bit, err)
				}
			case c.damage == nil && c.records == len(states): // a byte of padding
				wantPrefix(t, "flip", c, states)
				if !isPadding(b, ends, i) {
					t.Errorf("byte %d, bit %d: not noticed", i, bit)
				}
			default:
				wantPrefix(t, "flip", c, states)
				if c.damage == nil || c.damage.File != "m" || c.damage.Offset > int64(i) || c.damage.Offset < manifestHeaderSize {
					t.Errorf("byte %d, bit %d: %d records, damage %v", i, bit, c.records, c.damage)
				}
			}
		}
	}
}

// isPadding reports whether byte i stands behind a record's body.
func isPadding(b []byte, ends []int, i int) bool {
	start := manifestHeaderSize
	for _, end := range ends {
		if i < end {
			return i >= start+manifestRecordHead+int(binary.LittleEndian.Uint32(b[start:]))
		}
		start = end
	}
	return false
}

func TestRoomBehindAManifestIsNoDamage(t *testing.T) {
	b, _, states := sampleManifest(4)
	c, err := decodeManifest("m", append(b, make([]byte, 1000)...))
	if err != nil || c.damage != nil || c.records != len(states) {
		t.Errorf("%d records, damage %v, error %v", c.records, c.damage, err)
	}
}

func TestARecordsLengthIsBounded(t *testing.T) {
	b, ends, states := sampleManifest(4)
	for _, size := range []uint32{1 << 20, manifestMaxRecord, manifestMaxRecord + 1, 1<<32 - 1} {
		binary.LittleEndian.PutUint32(b[ends[1]:], size)
		c, err := decodeManifest("m", b)
		if err != nil || c.records != 2 || c.damage == nil {
			t.Errorf("a record of %d bytes: %d records, damage %v, error %v", size, c.records, c.damage, err)
			continue
		}
		wantPrefix(t, "length", c, states)
	}
}

// newerManifest is one that a later version of the program wrote.
func newerManifest() []byte {
	b, _, _ := sampleManifest(9)
	binary.LittleEndian.PutUint32(b[8:], manifestVersion+1)
	binary.LittleEndian.PutUint64(b[48:], xxhash.Sum64(b[:48]))
	return b
}

func TestANewerManifestIsRefused(t *testing.T) {
	_, err := decodeManifest("m", newerManifest())
	wantError(t, err, kv.ErrVersion, "m has version 2", "knows 1")
	if errors.Is(err, kv.ErrCorrupt) {
		t.Errorf("%v passes for damage", err)
	}
}

func TestANewerRecordInAManifestIsRefused(t *testing.T) {
	b, chain := appendManifestHeader(nil, testIdentity, 1)
	b, chain = appendManifestRecord(b, chain, &edit{numbers: 1})
	body := binary.AppendUvarint(nil, tagLost+1)
	record := make([]byte, manifestRecordHead)
	binary.LittleEndian.PutUint32(record, uint32(len(body)))
	binary.LittleEndian.PutUint64(record[8:], manifestSum(chain, record[:8], body))
	b = append(append(b, record...), body...)
	_, err := decodeManifest("m", b)
	wantError(t, err, kv.ErrVersion)
}

// writeCopies puts the two copies on a disk; nil leaves one out.
func writeCopies(t *testing.T, copies ...[]byte) *simdisk.Disk {
	t.Helper()
	disk := simdisk.New()
	if err := disk.Mkdir(testDir); err != nil {
		t.Fatal(err)
	}
	for i, b := range copies {
		if b == nil {
			continue
		}
		if err := disk.WriteFile(path.Join(testDir, manifestNames[i]), b); err != nil {
			t.Fatal(err)
		}
	}
	return disk
}

func TestWhichCopyOfTheManifestCounts(t *testing.T) {
	whole, ends, _ := sampleManifest(4)
	newer, newerEnds, _ := sampleManifest(5)
	garbage := []byte("this is not a manifest, though it is as long as a header is")
	for _, c := range []struct {
		name       string
		copies     [2][]byte
		generation uint64
		records    int
		damages    int
	}{
		{"both are whole", [2][]byte{whole, whole}, 4, 3, 0},
		{"the longer of one generation", [2][]byte{whole[:ends[0]], whole[:ends[1]]}, 4, 2, 0},
		{"the longer, be it the first", [2][]byte{whole[:ends[2]], whole[:ends[1]]}, 4, 3, 0},
		{"the higher generation, be it shorter", [2][]byte{newer[:newerEnds[0]], whole}, 5, 1, 0},
		{"the higher generation, be it the second", [2][]byte{whole, newer[:newerEnds[1]]}, 5, 2, 0},
		{"the readable one", [2][]byte{garbage, whole}, 4, 3, 1},
		{"the readable one, be it the first", [2][]byte{whole, garbage}, 4, 3, 1},
		{"the lower generation, where the higher has no record", [2][]byte{newer[:manifestHeaderSize], whole}, 4, 3, 1},
		{"the only one", [2][]byte{nil, whole}, 4, 3, 0},
		{"an empty file is damage", [2][]byte{{}, whole}, 4, 3, 1},
		{"none", [2][]byte{nil, nil}, 0, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := loadManifest(writeCopies(t, c.copies[0], c.copies[1]), testDir)
			if err != nil {
				t.Fatal(err)
			}
			best := m.best
			if best == nil {
				best = &manifestCopy{}
			}
			if best.generation != c.generation || best.records != c.records || len(m.damages) != c.damages {
				t.Errorf("generation %d with %d records, damages %v; want generation %d with %d records, %d damages",
					best.generation, best.records, m.damages, c.generation, c.records, c.damages)
			}
		})
	}
}

func TestTwoUnreadableCopiesAreAnErrorThatNamesBoth(t *testing.T) {
	whole, _, _ := sampleManifest(4)
	for i, damage := range []func([]byte) []byte{
		func(b []byte) []byte { return nil },
		func(b []byte) []byte { return b[:manifestHeaderSize] },
		func(b []byte) []byte { b[20] ^= 1; return b },
		func(b []byte) []byte { b[manifestHeaderSize+9] ^= 1; return b },
	} {
		b := damage([]byte(strings.Clone(string(whole))))
		if b == nil {
			b = []byte{}
		}
		m, err := loadManifest(writeCopies(t, b, b), testDir)
		wantError(t, err, kv.ErrCorrupt, path.Join(testDir, manifestNames[0]), path.Join(testDir, manifestNames[1]))
		if len(m.damages) != 2 {
			t.Errorf("case %d: damages %v", i, m.damages)
		}
	}
}

// A newer copy must not be passed over for an older one: what it says may be
// what counts.
func TestANewerCopyIsRefusedWhateverTheOtherHolds(t *testing.T) {
	whole, _, _ := sampleManifest(4)
	for _, copies := range [][2][]byte{{newerManifest(), whole}, {whole, newerManifest()}} {
		_, err := loadManifest(writeCopies(t, copies[0], copies[1]), testDir)
		wantError(t, err, kv.ErrVersion)
	}
}

func TestAManifestTooLargeToReadIsDamage(t *testing.T) {
	disk := writeCopies(t, []byte("x"))
	f, err := disk.Open(path.Join(testDir, manifestNames[0]), vfs.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(manifestMaxRecord + 1); err != nil {
		t.Fatal(err)
	}
	_, err = loadManifest(disk, testDir)
	wantError(t, err, kv.ErrCorrupt, manifestNames[0], "1073741825 bytes")
}

// A crash while an edit is written leaves the copies one record apart, and the
// one at work with a part of the record. That is how a crash looks, not damage.
func TestAnEditCutOffByACrashIsANote(t *testing.T) {
	whole, ends, _ := sampleManifest(4)
	unfinished := whole[:ends[1]+20]
	damaged := []byte(strings.Clone(string(whole)))
	damaged[ends[0]+20] ^= 1
	for _, c := range []struct {
		name    string
		copies  [2][]byte
		damages int
		notes   int
	}{
		{"in the first copy, the second not begun", [2][]byte{unfinished, whole[:ends[1]]}, 0, 1},
		{"in the second copy, the first finished", [2][]byte{whole, unfinished}, 0, 1},
		{"in both copies", [2][]byte{unfinished, unfinished}, 2, 0},
		{"in the first copy, the second finished", [2][]byte{unfinished, whole}, 1, 0},
		{"in the second copy, the first not begun", [2][]byte{whole[:ends[1]], unfinished}, 1, 0},
		{"an earlier record than the last", [2][]byte{whole, damaged}, 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := loadManifest(writeCopies(t, c.copies[0], c.copies[1]), testDir)
			if err != nil {
				t.Fatal(err)
			}
			if len(m.damages) != c.damages || len(m.notes) != c.notes {
				t.Errorf("damages %v, notes %q; want %d and %d", m.damages, m.notes, c.damages, c.notes)
			}
		})
	}
}

// Every bit of both copies of a real store's manifest may flip, one at a time:
// the other copy serves, and the report says which one is damaged.
func TestAStoreOpensWithOneDamagedCopyOfItsManifest(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", withHistory(3))
	mustPut(t, b, "k", "v")
	h.checkpoint()
	mustPut(t, b, "k", "w")
	if err := h.s.Close(); err != nil {
		t.Fatal(err)
	}
	whole := h.disk
	for i, name := range manifestNames {
		file := path.Join(testDir, name)
		content, err := whole.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for at := i % 7; at < len(content); at += 7 {
			h.insert(whole.Clone())
			h.flip(file, int64(at), at%8)
			h.open()
			wantShown(t, h.find("b"), showing{"k": revs{1, 2}})
			if d := damages(h.s.Report()); len(d) > 1 || len(d) == 1 && !strings.Contains(d[0], file) {
				t.Errorf("byte %d of %s: damages %q", at, name, d)
			}
			h.close()
		}
	}
}

// The manifest of a store that was open for long stays small.
func TestAnOvergrownManifestIsRewritten(t *testing.T) {
	h := newHarness(t)
	b := h.bucket("b", func(c *kv.Config) { c.Description = strings.Repeat("d", kv.MaxDescriptionSize) })
	generation := h.s.checkpoint.manifest.generation
	for i := 0; h.s.checkpoint.manifest.generation == generation; i++ {
		if i > 2000 {
			t.Fatalf("after %d checkpoints the manifest has %d bytes", i, h.s.checkpoint.manifest.size)
		}
		mustPut(t, b, "k", "v")
		h.checkpoint()
	}
	want := mustPut(t, b, "k", "last")
	h.checkpoint()
	h.powerCut()
	h.open()
	wantShown(t, h.find("b"), showing{"k": revs{want}})
}

func FuzzManifestDecode(f *testing.F) {
	whole, ends, _ := sampleManifest(4)
	f.Add(whole)
	f.Add(whole[:ends[0]])
	f.Add(newerManifest())
	f.Add([]byte(manifestMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeManifest("m", b)
		checkDecoded(t, c, err)
		// The checksums keep a mutation out of the bodies, so decode those too.
		e, err := decodeEdit(b)
		if err != nil {
			return
		}
		again, err := decodeEdit(e.append(nil))
		if err != nil || !reflect.DeepEqual(e, again) {
			t.Fatalf("%+v comes back as %+v, %v", e, again, err)
		}
	})
}

func checkDecoded(t *testing.T, c manifestCopy, err error) {
	if err != nil {
		if !errors.Is(err, kv.ErrCorrupt) && !errors.Is(err, kv.ErrVersion) {
			t.Fatalf("untyped error %v", err)
		}
		return
	}
	if c.records == 0 {
		t.Fatal("a manifest without a record")
	}
	b, chain := appendManifestHeader(nil, c.identity, c.generation)
	b, _ = appendManifestRecord(b, chain, c.state.snapshot())
	again, err := decodeManifest("m", b)
	if err != nil || !reflect.DeepEqual(again.state, c.state) {
		t.Fatalf("%+v rewritten is %+v, %v", c.state, again.state, err)
	}
}
