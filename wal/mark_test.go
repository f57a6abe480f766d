package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"strings"
	"testing"

	"github.com/cespare/xxhash/v2"

	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

var testMark = mark{lsn: 77, words: wordsOf(78)}

func TestMarkRoundTrip(t *testing.T) {
	for _, m := range []mark{{}, testMark, {lsn: 1<<64 - 1}} {
		var b [markSize]byte
		m.encode(&b, testStore)
		if got, err := decodeMark(&b, testStore); err != nil || got != m {
			t.Errorf("got %+v, %v; want %+v", got, err, m)
		}
	}
	if got, err := decodeMark(&[markSize]byte{}, testStore); err != nil || got != (mark{}) {
		t.Errorf("zeros: %+v, %v", got, err)
	}
}

func TestMarkRefusesEveryFlippedBit(t *testing.T) {
	var b [markSize]byte
	testMark.encode(&b, testStore)
	for bit := range 8 * markSize {
		b[bit/8] ^= 1 << (bit % 8)
		if m, err := decodeMark(&b, testStore); err == nil || errors.Is(err, kv.ErrVersion) {
			t.Fatalf("bit %d flipped: %+v, %v", bit, m, err)
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
}

// markOf reads the mark of a disk.
func markOf(t *testing.T, o Options) (mark, []string) {
	t.Helper()
	r, err := Open(o)
	check(t, err)
	return r.mark, r.notes
}

func TestMarkNamesWhatIsDurable(t *testing.T) {
	disk := newDisk(t)
	fault := simdisk.NewFault(disk)
	o := testOptions(fault)
	w := startLog(t, o)
	var calls []string
	fault.Inject(func(op simdisk.Op) simdisk.Action {
		if op.Kind == simdisk.OpSync || path.Base(op.Path) == MarkFile {
			calls = append(calls, fmt.Sprintf("%v mark: %v", op.Kind, path.Base(op.Path) == MarkFile))
		}
		if op.Kind == simdisk.OpSync {
			if m, _ := markOf(t, testOptions(disk)); m.lsn > w.Synced() {
				t.Errorf("the mark names LSN %d, and %d is durable", m.lsn, w.Synced())
			}
		}
		return simdisk.Action{}
	})
	for n, size := range []int{10, 20, 5000} {
		w.add(size)
		if m, _ := markOf(t, testOptions(disk)); m.lsn != LSN(n) {
			t.Errorf("before sync %d the mark names LSN %d", n+1, m.lsn)
		}
		calls = nil
		check(t, w.Sync())
		check(t, w.Sync()) // makes no frame durable
		if want := "sync mark: false, write mark: true"; strings.Join(calls, ", ") != want {
			t.Errorf("a sync makes the calls %q, want %s", calls, want)
		}
		m, _ := markOf(t, testOptions(disk))
		if m != (mark{lsn: LSN(n + 1), words: wordsOf(LSN(n + 2))}) {
			t.Errorf("after sync %d the mark is %+v", n+1, m)
		}
	}
}

// The newest frame is damaged, and no later frame names it as durable. The mark does.
func TestMarkTellsDamageFromATornTail(t *testing.T) {
	for _, marked := range []bool{true, false} {
		disk := newDisk(t)
		o := testOptions(disk)
		w := startLog(t, o)
		w.addSynced(10, 20)
		if !marked {
			check(t, disk.Remove(path.Join(testDir, MarkFile)))
		}
		check(t, disk.Corrupt(w.file.path, 2*pageSize+FrameHeaderSize, 1, func(b []byte) { b[0] ^= 1 }))
		_, got, err := replayAll(o, 0)
		check(t, err)
		if (got.damage() != nil) != marked || (got.Torn != nil) == marked || got.Last != 1 {
			t.Errorf("marked %v: last %d, damage %v, torn %v", marked, got.Last, got.damage(), got.Torn)
		}
	}
}

// Without any file of the log the mark alone shows that there were frames.
func TestMarkOfALogThatIsGone(t *testing.T) {
	disk := newDisk(t)
	o := testOptions(disk)
	w := startLog(t, o)
	w.addSynced(10, 20)
	for _, name := range fileNames(t, disk) {
		check(t, disk.Remove(path.Join(testDir, name)))
	}
	r, got, err := replayAll(o, 0)
	check(t, err)
	if got.damage() == nil || got.damage().First != 1 || got.damage().Last != 2 {
		t.Errorf("got %v", got.damage())
	}
	if _, err := r.Start(0, Words{}); err == nil {
		t.Error("LSNs that were durable were given away again")
	}
}

// A mark that cannot be used is a note, and the next Sync replaces it.
func TestMarkThatCannotBeUsedIsANote(t *testing.T) {
	other := testStore
	other[0]++
	var foreign, later [markSize]byte
	testMark.encode(&foreign, other)
	testMark.encode(&later, testStore)
	for name, c := range map[string]struct {
		bytes []byte
		note  string
	}{
		"never written":    {nil, ""},
		"only extended":    {make([]byte, markSize), ""},
		"cut":              {later[:markSize-1], "EOF"},
		"garbage":          {[]byte(strings.Repeat("garbage", 20)), "no magic number"},
		"torn":             {append(append([]byte(nil), later[:40]...), make([]byte, 48)...), "checksum"},
		"of another store": {foreign[:], "belongs to store 010102"},
	} {
		t.Run(name, func(t *testing.T) {
			disk := newDisk(t)
			o := testOptions(disk)
			w := startLog(t, o)
			w.addSynced(10)
			w.close()
			check(t, disk.WriteFile(path.Join(testDir, MarkFile), c.bytes))
			m, notes := markOf(t, o)
			if m != (mark{}) || (len(notes) > 0) != (c.note != "") || !strings.Contains(strings.Join(notes, " "), c.note) {
				t.Errorf("mark %+v, notes %q", m, notes)
			}
			w = startLog(t, o)
			w.addSynced(10)
			if m, _ := markOf(t, o); m.lsn != w.Last() {
				t.Errorf("the next mark names LSN %d, want %d", m.lsn, w.Last())
			}
		})
	}
}

func TestMarkOfANewerVersion(t *testing.T) {
	for name, at := range map[string]int{"version": markVersionAt, "features": markFeaturesAt} {
		disk := newDisk(t)
		var b [markSize]byte
		testMark.encode(&b, testStore)
		b[at]++
		resealMark(&b)
		check(t, disk.WriteFile(path.Join(testDir, MarkFile), b[:]))
		if _, err := Open(testOptions(disk)); !errors.Is(err, kv.ErrVersion) || !strings.Contains(err.Error(), MarkFile) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// The log works without its mark, and does not try to write it again.
func TestLogWithoutAMark(t *testing.T) {
	errBroken := errors.New("broken")
	for _, kind := range []simdisk.OpKind{simdisk.OpOpen, simdisk.OpWriteAt} {
		disk := newDisk(t)
		fault := simdisk.NewFault(disk)
		o := testOptions(fault)
		tries := 0
		fault.Inject(func(op simdisk.Op) simdisk.Action {
			if op.Kind == kind && path.Base(op.Path) == MarkFile {
				tries++
				return simdisk.Action{Err: errBroken}
			}
			return simdisk.Action{}
		})
		w := startLog(t, o)
		tries = 0
		w.addSynced(10, 20, 5000, 30)
		if want := map[simdisk.OpKind]int{simdisk.OpWriteAt: 1}[kind]; tries != want {
			t.Errorf("%v: %d calls failed, want %d", kind, tries, want)
		}
		w.close()
		fault.Inject(nil)
		wantWhole(t, testOptions(disk), w.written)
	}
}

func resealMark(b *[markSize]byte) {
	binary.LittleEndian.PutUint64(b[markSumAt:], xxhash.Sum64(b[:markSumAt]))
}
