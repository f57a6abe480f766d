package segment

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"testing"

	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// blocks returns where the index blocks are, in file order.
func (x *fixture) blocks() []placedBlock {
	return (&reader{walker: x.s.newWalker(x.open(), x.s.Size(), func(e *kv.CorruptError) { x.t.Error(e) })}).chain(x.s.Desc())
}

// After any damage to one index block its records are found by walking. Even then only
// damaged records are missing.
func TestEntriesWithADamagedBlock(t *testing.T) {
	x := sampleSegment(t, memOptions(t))
	sound := x.bytes()
	blocks := x.blocks()
	if len(blocks) != 3 {
		t.Fatalf("blocks are %+v", blocks)
	}
	for i, b := range blocks {
		for what, at := range map[string]int64{"header": b.offset + 9, "body": b.offset + blockHeaderSize} {
			t.Run(fmt.Sprintf("%s of block %d", what, i+1), func(t *testing.T) {
				defer x.write(0, sound)
				x.write(at, []byte{sound[at] ^ 1})
				entries, damage := x.list()
				if !reflect.DeepEqual(entries, x.entries) || len(damage) == 0 || damage[0].Offset != b.offset {
					t.Fatalf("entries %+v, %v", entries, damage)
				}
				for _, lost := range x.entries {
					x.write(lost.Offset, []byte{sound[lost.Offset] ^ 1})
					want := x.entries
					// A broken header also ends the chain to the blocks before.
					if lost.Offset < b.offset && (what == "header" || lost.Offset >= b.start) {
						want = without(want, &lost)
					}
					if entries, _ := x.list(); !reflect.DeepEqual(entries, want) {
						t.Errorf("with the record at %d damaged: entries %+v", lost.Offset, entries)
					}
					x.write(lost.Offset, sound[lost.Offset:lost.Offset+1])
				}
			})
		}
	}
}

// A chain with a wrong offset or a cycle is damage.
func TestEntriesWithAWrongChain(t *testing.T) {
	x := sampleSegment(t, memOptions(t))
	d := x.s.Desc()
	blocks := x.blocks()
	relink := func(i int, change func(*blockHeader)) func() {
		return func() {
			h := blocks[i].blockHeader
			change(&h)
			x.write(blocks[i].offset, testSeed.appendBlockHeader(nil, x.s.placeOf(blocks[i].offset), &h))
		}
	}
	for name, c := range map[string]struct {
		lastIndex int64
		change    func()
		damages   int
	}{
		"the last index is elsewhere":           {blocks[1].offset + 8, func() {}, 1},
		"the last index is a record":            {x.entries[0].Offset, func() {}, 1},
		"the last index is the one before":      {blocks[1].offset, func() {}, 0},
		"there is none":                         {0, func() {}, 0},
		"a predecessor inside the range before": {d.LastIndex, relink(2, func(h *blockHeader) { h.prev = blocks[1].offset - 8 }), 1},
		"a predecessor skipped":                 {d.LastIndex, relink(2, func(h *blockHeader) { h.prev = blocks[0].offset }), 0},
		"a predecessor of impossible length":    {d.LastIndex, relink(1, func(h *blockHeader) { h.length += pageSize }), 2},
	} {
		t.Run(name, func(t *testing.T) {
			sound := x.bytes()
			defer x.write(0, sound)
			c.change()
			desc := d
			desc.LastIndex = c.lastIndex
			s, err := Open(x.o, desc)
			if err != nil {
				t.Fatal(err)
			}
			y := *x
			y.s = s
			entries, damage := y.list()
			if !reflect.DeepEqual(entries, x.entries) || len(damage) != c.damages {
				t.Errorf("entries %+v, %v", entries, damage)
			}
			<-s.Retire()
		})
	}
}

// A malformed entry under a valid checksum: the entries before it count, and the records
// after it are found by walking.
func TestEntriesWithAMalformedEntry(t *testing.T) {
	for bad := range 3 {
		x := create(t, memOptions(t))
		x.put("a", "1")
		x.put("b", "2")
		x.put("c", "3")
		b, _ := x.s.BeginIndex()
		chunk := b.chunks[0]
		var d deltas
		at := 0
		for range bad {
			n, err := d.decodeEntry(chunk[at:], &Entry{})
			if err != nil {
				t.Fatal(err)
			}
			at += n
		}
		chunk[at] = 0 // the kind byte
		if err := x.s.WriteIndex(b); err != nil {
			t.Fatal(err)
		}
		entries, damage := x.list()
		if !reflect.DeepEqual(entries, x.entries) || len(damage) != 1 || damage[0].Detail != string(errEntry) {
			t.Errorf("entry %d malformed: entries %+v, %v", bad, entries, damage)
		}
	}
}

// Records after the last index block are found by walking.
func TestEntriesAfterTheIndex(t *testing.T) {
	x := sampleSegment(t, memOptions(t))
	d := x.s.Desc()
	d.LastIndex = x.blocks()[0].offset
	s, err := Open(x.o, d)
	if err != nil {
		t.Fatal(err)
	}
	y := *x
	y.s = s
	if entries, damage := y.list(); !reflect.DeepEqual(entries, x.entries) || damage != nil {
		t.Errorf("entries %+v, %v", entries, damage)
	}
	<-s.Retire()
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
		for what, at := range map[string]int64{"header": b.offset, "body": b.offset + blockHeaderSize} {
			f.Inject(func(op simdisk.Op) simdisk.Action {
				if op.Kind == simdisk.OpReadAt && op.Offset == at && op.Len < pageSize {
					return simdisk.Action{Err: io.ErrNoProgress}
				}
				return simdisk.Action{}
			})
			entries, damage := x.list()
			if !reflect.DeepEqual(entries, x.entries) || len(damage) != 1 || damage[0].Offset != b.offset || !errors.Is(damage[0], io.ErrNoProgress) {
				t.Errorf("%s at %d: entries %+v, %v", what, at, entries, damage)
			}
		}
	}
}
