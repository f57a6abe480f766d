package segment

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// blocks returns where the index blocks are, in file order.
func (x *fixture) blocks() []extent {
	d, file := x.s.Desc(), x.open()
	return (&reader{walker: x.s.newWalker(file, d.Size, nil), pages: window{file: file, end: d.Size}}).blocks(&d)
}

// longBlocks returns a sealed segment of blocks of several pages, and of single ones between
// them.
func longBlocks(t testing.TB, o Options) *fixture {
	t.Helper()
	x := createOf(t, o, 8<<20)
	for i, n := range []int{300, 1, 200, 2, 1, 400} {
		for j := range n {
			x.put(fmt.Sprintf("key of block %d number %d", i, j), strings.Repeat("v", j%40))
		}
		x.index()
	}
	x.seal()
	return x
}

// A lost index page costs nothing while the records that it names are sound. If no head of any
// record is sound, only the records of that page are missing: it cuts off no other page.
func TestEntriesWithALostPage(t *testing.T) {
	x := longBlocks(t, memOptions(t))
	blocks := x.blocks()
	if len(blocks) != 6 || blocks[0].pages < 3 || blocks[5].pages < 3 || blocks[1].pages != 1 {
		t.Fatalf("blocks are %+v", blocks)
	}
	sound := x.bytes()
	headless := bytes.Clone(sound)
	for _, e := range x.entries {
		headless[e.Offset] ^= 1
	}
	for _, b := range blocks {
		for i, h := range x.pages(b) {
			offset := b.offset + int64(i)*pageSize
			x.write(offset, make([]byte, pageSize))
			entries, damage := x.list()
			if !reflect.DeepEqual(entries, x.entries) || len(damage) == 0 {
				t.Errorf("page at %d: %d entries of %d, %v", offset, len(entries), len(x.entries), damage)
			}
			x.write(0, headless)
			x.write(offset, make([]byte, pageSize))
			var want []Entry
			for n, e := range x.entries {
				if n := uint64(n); n < h.before.records || n >= h.before.records+h.own.records {
					want = append(want, e)
				}
			}
			if entries, _ := x.list(); !reflect.DeepEqual(entries, want) {
				t.Errorf("page at %d, no head sound: %d entries, want %d of %d", offset, len(entries), len(want), len(x.entries))
			}
			x.write(0, sound)
		}
	}
}

// A page of another place, of another segment or with other blocks is not used.
func TestEntriesWithAPageOfAnotherPlace(t *testing.T) {
	x := longBlocks(t, memOptions(t))
	b := x.blocks()[5]
	h, file := x.pages(b)[1], x.bytes()
	offset := b.offset + pageSize
	for name, change := range map[string]func(page []byte){
		"another page":        func(page []byte) { copy(page, file[b.offset:]) },
		"of another block":    func(page []byte) { h := h; h.block.pages++; testSeed.putPageHeader(page, x.s.placeOf(offset), &h) },
		"overlaps the others": func(page []byte) { h := h; h.first -= 512; testSeed.putPageHeader(page, x.s.placeOf(offset), &h) },
		"of another segment":  func(page []byte) { testSeed.putPageHeader(page, place{testBucket, testNumber + 1, offset}, &h) },
		"of another store":    func(page []byte) { (testSeed + 1).putPageHeader(page, x.s.placeOf(offset), &h) },
	} {
		page := bytes.Clone(file[offset:][:pageSize])
		change(page)
		x.write(offset, page)
		entries, damage := x.list()
		if !reflect.DeepEqual(entries, x.entries) || len(damage) != 1 || damage[0].Offset != offset {
			t.Errorf("%s: %d entries of %d, %v", name, len(entries), len(x.entries), damage)
		}
	}
}

// A malformed entry under a valid checksum: the entries before it count, and the records after
// it are found by walking.
func TestEntriesWithAMalformedEntry(t *testing.T) {
	for bad := range 3 {
		x := create(t, memOptions(t))
		x.put("a", "1")
		x.put("b", "2")
		x.put("c", "3")
		b, _ := x.s.BeginIndex()
		body := b.pages[0].entries
		var d deltas
		at := 0
		for range bad {
			n, err := d.decodeEntry(body[at:], &Entry{})
			if err != nil {
				t.Fatal(err)
			}
			at += n
		}
		body[at] = 0 // the kind byte
		if err := x.s.WriteIndex(b); err != nil {
			t.Fatal(err)
		}
		entries, damage := x.list()
		if !reflect.DeepEqual(entries, x.entries) || len(damage) != 1 || damage[0].Detail != string(errEntry) {
			t.Errorf("entry %d malformed: entries %+v, %v", bad, entries, damage)
		}
		body[at] = uint8(Put) | entryFlags
		body[at+1] = flagLease
		file := b.encode(testSeed, testBucket, testNumber)
		x.write(b.from, file)
		if err := x.s.Entries(func(*Entry) error { return nil }, func(*kv.CorruptError) {}, nil); !errors.Is(err, kv.ErrVersion) {
			t.Errorf("entry %d of a later version: %v", bad, err)
		}
	}
}

func TestEntriesOfAnEmptySegment(t *testing.T) {
	x := create(t, memOptions(t))
	x.check()
	x.seal()
	x.reopen()
	x.check()
}

func TestEntriesWithAnUnreadableBlock(t *testing.T) {
	o := memOptions(t)
	f := faulty(&o)
	x := sampleSegment(t, o)
	for _, b := range x.blocks() {
		f.Inject(func(op simdisk.Op) simdisk.Action {
			if op.Kind == simdisk.OpReadAt && op.Offset < b.end() && op.Offset+int64(op.Len) > b.offset {
				return simdisk.Action{Err: io.ErrNoProgress}
			}
			return simdisk.Action{}
		})
		entries, damage := x.list()
		if !reflect.DeepEqual(entries, x.entries) || len(damage) == 0 || damage[0].Offset != b.offset || !errors.Is(damage[0], io.ErrNoProgress) {
			t.Errorf("block at %d: entries %+v, %v", b.offset, entries, damage)
		}
	}
}
