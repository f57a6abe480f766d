package manifest

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

	"kvd/internal/golden"
	"kvd/internal/vfs"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

const testDir = "store"

var testIdentity = Identity{StoreID: [16]byte([]byte("0123456789abcdef")), Seed: 0x1122334455667788}

// wantError fails the test unless err matches target and its text holds every
// part.
func wantError(t testing.TB, err, target error, parts ...string) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Errorf("error is %v, want one that matches %q", err, target)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q lacks %q", err, part)
		}
	}
}

// sampleManifest returns a copy with the given generation, one record a state.
// The states are what it says after each record.
func sampleManifest(generation uint64) (b []byte, ends []int, states []State) {
	edits := []*Edit{
		{Numbers: 1 << 16, Clock: 7},
		sampleEdit(),
		{LogLow: 500, Deleted: []uint64{7}},
	}
	b, chain := appendHeader(nil, testIdentity, generation)
	s := NewState()
	for _, e := range edits {
		b, chain = appendRecord(b, chain, e)
		s.Merge(e)
		copied := NewState()
		copied.Merge(s.snapshot())
		ends, states = append(ends, len(b)), append(states, copied)
	}
	return b, ends, states
}

// A copy in one piece comes back, and no bit of it may change but in the padding.
func TestAnEncodedManifest(t *testing.T) {
	state := NewState()
	state.Merge(sampleEdit())
	b := Encode(testIdentity, &state)
	c, err := Decode("m", b)
	if err != nil || c.Identity != testIdentity || !reflect.DeepEqual(c.State, state) {
		t.Fatalf("%+v, %v; want %+v", c, err, state)
	}
	for n := range b {
		if _, err := Decode("m", b[:n]); n < len(b)-7 && !errors.Is(err, kv.ErrCorrupt) {
			t.Errorf("the first %d bytes: %v", n, err)
		}
		b[n] ^= 4
		if _, err := Decode("m", b); n < len(b)-8 && !errors.Is(err, kv.ErrCorrupt) && !errors.Is(err, kv.ErrVersion) {
			t.Errorf("byte %d changed: %v", n, err)
		}
		b[n] ^= 4
	}
}

func TestSkipTo(t *testing.T) {
	b := Bucket{Next: 5}
	b.SkipTo(5)
	b.SkipTo(3)
	if len(b.Skipped) != 0 || b.Next != 5 {
		t.Errorf("nothing was to be skipped: %+v", b)
	}
	b.SkipTo(10)
	b.SkipTo(20)
	if want := []SkippedRange{{4, 19}}; !reflect.DeepEqual(b.Skipped, want) || b.Next != 20 {
		t.Errorf("skipped %v, next %d; want %v", b.Skipped, b.Next, want)
	}
	for range SkippedMax + 3 {
		b.Next++ // a record
		b.SkipTo(b.Next + 10)
	}
	if len(b.Skipped) != SkippedMax || b.CompactedEndUpTo == 0 || b.CompactedEndUpTo >= b.Skipped[0].After {
		t.Errorf("skipped %v, compacted up to %d", b.Skipped, b.CompactedEndUpTo)
	}
}

func TestAManifestComesBackAsItWas(t *testing.T) {
	b, _, states := sampleManifest(4)
	c, err := decodeCopy("m", b)
	if err != nil {
		t.Fatal(err)
	}
	want := Copy{Identity: testIdentity, Generation: 4, Records: 3, State: states[2]}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v, want %+v", c, want)
	}
	golden.Compare(t, "manifest", b)
}

// The hex in the package documentation is a manifest.
func TestTheManifestOfTheDocumentation(t *testing.T) {
	b, chain := appendHeader(nil, Identity{StoreID: [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, Seed: 0x1122334455667788}, 1)
	b, chain = appendRecord(b, chain, &Edit{Numbers: 65537})
	b, _ = appendRecord(b, chain, &Edit{LogLow: 300, MaxBucketID: 2, Deleted: []uint64{2}})
	source, err := os.ReadFile("doc.go")
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
func wantPrefix(t *testing.T, what string, c Copy, states []State) {
	t.Helper()
	if c.Records < 1 || c.Records > len(states) || c.Identity != testIdentity || !reflect.DeepEqual(c.State, states[c.Records-1]) {
		t.Errorf("%s: %d records come to %+v", what, c.Records, c)
	}
}

func TestAManifestCutAnywhereHoldsItsWholeRecords(t *testing.T) {
	b, ends, states := sampleManifest(4)
	for n := range len(b) + 1 {
		whole, start := 0, headerSize
		for whole < len(ends) && n >= start+recordHeadSize+int(binary.LittleEndian.Uint32(b[start:])) {
			start = ends[whole]
			whole++
		}
		c, err := decodeCopy("m", b[:n])
		if whole == 0 {
			wantError(t, err, kv.ErrCorrupt)
			continue
		}
		if err != nil || c.Records != whole || (c.Damage != nil) != (n > start) {
			t.Errorf("cut at %d: %d records, damage %v, error %v; want %d records", n, c.Records, c.Damage, err, whole)
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
			c, err := decodeCopy("m", b)
			b[i] ^= 1 << bit
			switch {
			case err != nil:
				if !errors.Is(err, kv.ErrCorrupt) || i >= ends[0] {
					t.Errorf("byte %d, bit %d: %v", i, bit, err)
				}
			case c.Damage == nil && c.Records == len(states): // a byte of padding
				wantPrefix(t, "flip", c, states)
				if !isPadding(b, ends, i) {
					t.Errorf("byte %d, bit %d: not noticed", i, bit)
				}
			default:
				wantPrefix(t, "flip", c, states)
				if c.Damage == nil || c.Damage.File != "m" || c.Damage.Offset > int64(i) || c.Damage.Offset < headerSize {
					t.Errorf("byte %d, bit %d: %d records, damage %v", i, bit, c.Records, c.Damage)
				}
			}
		}
	}
}

// isPadding reports whether byte i stands behind a record's body.
func isPadding(b []byte, ends []int, i int) bool {
	start := headerSize
	for _, end := range ends {
		if i < end {
			return i >= start+recordHeadSize+int(binary.LittleEndian.Uint32(b[start:]))
		}
		start = end
	}
	return false
}

func TestRoomBehindAManifestIsNoDamage(t *testing.T) {
	b, _, states := sampleManifest(4)
	c, err := decodeCopy("m", append(b, make([]byte, 1000)...))
	if err != nil || c.Damage != nil || c.Records != len(states) {
		t.Errorf("%d records, damage %v, error %v", c.Records, c.Damage, err)
	}
}

func TestARecordsLengthIsBounded(t *testing.T) {
	b, ends, states := sampleManifest(4)
	for _, size := range []uint32{1 << 20, recordSizeMax, recordSizeMax + 1, 1<<32 - 1} {
		binary.LittleEndian.PutUint32(b[ends[1]:], size)
		c, err := decodeCopy("m", b)
		if err != nil || c.Records != 2 || c.Damage == nil {
			t.Errorf("a record of %d bytes: %d records, damage %v, error %v", size, c.Records, c.Damage, err)
			continue
		}
		wantPrefix(t, "length", c, states)
	}
}

// newerManifest is one that a later version of the program wrote.
func newerManifest() []byte {
	b, _, _ := sampleManifest(9)
	binary.LittleEndian.PutUint32(b[8:], version+1)
	binary.LittleEndian.PutUint64(b[48:], xxhash.Sum64(b[:48]))
	return b
}

func TestANewerManifestIsRefused(t *testing.T) {
	_, err := decodeCopy("m", newerManifest())
	wantError(t, err, kv.ErrVersion, "m has version 3", "knows 2")
	if errors.Is(err, kv.ErrCorrupt) {
		t.Errorf("%v passes for damage", err)
	}
}

// The format of version 1 was never released.
func TestTheFirstVersionIsRefused(t *testing.T) {
	b, _, _ := sampleManifest(9)
	binary.LittleEndian.PutUint32(b[8:], 1)
	binary.LittleEndian.PutUint64(b[48:], xxhash.Sum64(b[:48]))
	_, err := decodeCopy("m", b)
	wantError(t, err, kv.ErrVersion, "m has version 1", "never released", "new directory")
}

// A store that uses what this program does not know is not damaged.
func TestAnUnknownFeatureIsRefused(t *testing.T) {
	for bit := range 32 {
		b, _, _ := sampleManifest(9)
		binary.LittleEndian.PutUint32(b[12:], 1<<bit)
		binary.LittleEndian.PutUint64(b[48:], xxhash.Sum64(b[:48]))
		_, err := decodeCopy("m", b)
		wantError(t, err, kv.ErrVersion, "m uses features", "newer")
		if errors.Is(err, kv.ErrCorrupt) {
			t.Errorf("%v passes for damage", err)
		}
	}
}

func TestANewerRecordInAManifestIsRefused(t *testing.T) {
	b, chain := appendHeader(nil, testIdentity, 1)
	b, chain = appendRecord(b, chain, &Edit{Numbers: 1})
	body := binary.AppendUvarint(nil, tagHidden+1)
	record := make([]byte, recordHeadSize)
	binary.LittleEndian.PutUint32(record, uint32(len(body)))
	binary.LittleEndian.PutUint64(record[8:], recordSum(chain, record[:8], body))
	b = append(append(b, record...), body...)
	_, err := decodeCopy("m", b)
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
		if err := disk.WriteFile(path.Join(testDir, Names[i]), b); err != nil {
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
		{"the lower generation, where the higher has no record", [2][]byte{newer[:headerSize], whole}, 4, 3, 1},
		{"the only one", [2][]byte{nil, whole}, 4, 3, 0},
		{"an empty file is damage", [2][]byte{{}, whole}, 4, 3, 1},
		{"none", [2][]byte{nil, nil}, 0, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := Load(writeCopies(t, c.copies[0], c.copies[1]), testDir)
			if err != nil {
				t.Fatal(err)
			}
			best := m.Best
			if best == nil {
				best = &Copy{}
			}
			if best.Generation != c.generation || best.Records != c.records || len(m.Damages) != c.damages {
				t.Errorf("generation %d with %d records, damages %v; want generation %d with %d records, %d damages",
					best.Generation, best.Records, m.Damages, c.generation, c.records, c.damages)
			}
		})
	}
}

func TestTwoUnreadableCopiesAreAnErrorThatNamesBoth(t *testing.T) {
	whole, _, _ := sampleManifest(4)
	for i, damage := range []func([]byte) []byte{
		func(b []byte) []byte { return nil },
		func(b []byte) []byte { return b[:headerSize] },
		func(b []byte) []byte { b[20] ^= 1; return b },
		func(b []byte) []byte { b[headerSize+9] ^= 1; return b },
	} {
		b := damage([]byte(strings.Clone(string(whole))))
		if b == nil {
			b = []byte{}
		}
		m, err := Load(writeCopies(t, b, b), testDir)
		wantError(t, err, kv.ErrCorrupt, path.Join(testDir, Names[0]), path.Join(testDir, Names[1]))
		if len(m.Damages) != 2 {
			t.Errorf("case %d: damages %v", i, m.Damages)
		}
	}
}

// A newer copy must not be passed over for an older one: what it says may be
// what counts.
func TestANewerCopyIsRefusedWhateverTheOtherHolds(t *testing.T) {
	whole, _, _ := sampleManifest(4)
	for _, copies := range [][2][]byte{{newerManifest(), whole}, {whole, newerManifest()}} {
		_, err := Load(writeCopies(t, copies[0], copies[1]), testDir)
		wantError(t, err, kv.ErrVersion)
	}
}

func TestAManifestTooLargeToReadIsDamage(t *testing.T) {
	disk := writeCopies(t, []byte("x"))
	f, err := disk.Open(path.Join(testDir, Names[0]), vfs.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(recordSizeMax + 1); err != nil {
		t.Fatal(err)
	}
	_, err = Load(disk, testDir)
	wantError(t, err, kv.ErrCorrupt, Names[0], "1073741825 bytes")
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
			m, err := Load(writeCopies(t, c.copies[0], c.copies[1]), testDir)
			if err != nil {
				t.Fatal(err)
			}
			if len(m.Damages) != c.damages || len(m.Notes) != c.notes {
				t.Errorf("damages %v, notes %q; want %d and %d", m.Damages, m.Notes, c.damages, c.notes)
			}
		})
	}
}

func FuzzDecode(f *testing.F) {
	whole, ends, _ := sampleManifest(4)
	f.Add(whole)
	f.Add(whole[:ends[0]])
	f.Add(newerManifest())
	f.Add(importEdit().append(nil))
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeCopy("m", b)
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

func checkDecoded(t *testing.T, c Copy, err error) {
	if err != nil {
		if !errors.Is(err, kv.ErrCorrupt) && !errors.Is(err, kv.ErrVersion) {
			t.Fatalf("untyped error %v", err)
		}
		return
	}
	if c.Records == 0 {
		t.Fatal("a manifest without a record")
	}
	b, chain := appendHeader(nil, c.Identity, c.Generation)
	b, _ = appendRecord(b, chain, c.State.snapshot())
	again, err := decodeCopy("m", b)
	if err != nil || !reflect.DeepEqual(again.State, c.State) {
		t.Fatalf("%+v rewritten is %+v, %v", c.State, again.State, err)
	}
}
