package segment

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"kvd/internal/vfs"
	"kvd/kv"
)

// model says what Entries has to find in a damaged segment.
type model struct {
	*fixture
	sound   []byte
	named   []int   // the index page of each record, as a number of pages
	indexed []int64 // offsets of the index pages
}

func newModel(x *fixture) *model {
	m := &model{fixture: x, sound: x.bytes()}
	for _, b := range x.blocks() {
		for i, h := range x.pages(b) {
			for range h.own.records {
				m.named = append(m.named, len(m.indexed))
			}
			m.indexed = append(m.indexed, b.offset+int64(i)*pageSize)
		}
	}
	return m
}

// state is what is left of a damaged segment.
type state struct {
	named   []bool  // by record: a sound page names it
	found   []bool  // by record: it is named, or its head is sound
	entries []Entry // those of the records that are found
	holes   []Hole
}

// expect computes what Entries finds in the bytes of a damaged file, if nothing in them is sound
// that is not in its place.
func (m *model) expect(file []byte) (s state) {
	same := func(from, to int64) bool {
		return to <= int64(len(file)) && bytes.Equal(file[from:to], m.sound[from:to])
	}
	for i, e := range m.entries {
		page := m.indexed[m.named[i]]
		r := m.records[e.Offset]
		head, _ := headOf(&r)
		named := same(page, page+pageSize)
		found := named || same(e.Offset, e.Offset+int64(head)) && e.Offset+int64(e.Size) <= int64(len(file))
		s.named, s.found = append(s.named, named), append(s.found, found)
		if found {
			s.entries = append(s.entries, e)
		}
	}
	// The hole ends where the first page behind the last missing record names something.
	h := Hole{Bound: m.s.Desc().Last}
	for i := len(s.found) - 1; i >= 0; i-- {
		switch e := &m.entries[i]; {
		case !s.found[i]:
			h.Records++
		case h.Records == 0 && s.named[i] && e.Op != Erase:
			h.Bound = e.Revision - 1
		}
	}
	if h.Records > 0 {
		s.holes = append(s.holes, h)
	}
	return s
}

// check compares what Entries finds in the file as it is with the model, and returns the damage.
func (m *model) check(what string) []*kv.CorruptError {
	m.t.Helper()
	file := m.content()
	want := m.expect(file)
	got, damage := m.list()
	if !reflect.DeepEqual(got, want.entries) {
		m.t.Errorf("%s: %d entries, want %d of %d", what, len(got), len(want.entries), len(m.entries))
	}
	if len(m.holes) != len(want.holes) {
		m.t.Errorf("%s: holes %+v, want %+v", what, m.holes, want.holes)
		return damage
	}
	for i, h := range m.holes {
		if w := want.holes[i]; h.Records != w.Records || h.Bound != w.Bound || h.Err.After != h.After || h.Err.UpTo != h.Bound || h.Err.File != m.s.path {
			m.t.Errorf("%s: hole %+v, want %+v", what, h, w)
		}
	}
	for i := range m.entries {
		if e := &m.entries[i]; !want.found[i] && !m.covered(e) {
			m.t.Errorf("%s: the record at %d, revision %d, is missing outside the holes %+v", what, e.Offset, e.Revision, m.holes)
		}
	}
	return damage
}

// covered reports whether a hole of the last list has the record.
func (m *model) covered(e *Entry) bool {
	for _, h := range m.holes {
		if h.From <= e.Offset && e.Offset+int64(e.Size) <= h.To && (e.Op == Erase || h.After < e.Revision && e.Revision <= h.Bound) {
			return true
		}
	}
	return false
}

// checkPlanted is check for damage that puts sound bytes in the place of others: what Entries
// finds is right, or in a hole.
func (m *model) checkPlanted(what string) {
	m.t.Helper()
	file := m.content()
	got, _ := m.list()
	at := make(map[int64]*Entry)
	for i := range got {
		at[got[i].Offset] = &got[i]
	}
	bound := kv.Revision(0)
	for _, h := range m.holes {
		bound = max(bound, h.Bound)
	}
	wrong := 0
	for i := range m.entries {
		e := &m.entries[i]
		if g := at[e.Offset]; g != nil && reflect.DeepEqual(*g, *e) {
			delete(at, e.Offset)
			continue
		}
		if wrong++; !m.covered(e) {
			m.t.Errorf("%s: the record at %d, revision %d, is missing outside the holes %+v", what, e.Offset, e.Revision, m.holes)
		}
	}
	for _, e := range at {
		if wrong++; e.Revision > bound {
			m.t.Errorf("%s: a record at %d, revision %d, was not written, and the holes end at %d", what, e.Offset, e.Revision, bound)
		}
	}
	// An index page of another life may name the right records, but its totals are those of others.
	lives := slices.ContainsFunc(m.indexed, func(page int64) bool { return !bytes.Equal(file[page:][:pageSize], m.sound[page:][:pageSize]) })
	if wrong == 0 && m.holes != nil && !lives {
		m.t.Errorf("%s: nothing is missing, and the holes are %+v", what, m.holes)
	}
}

// content returns the file, which may be too short.
func (m *model) content() (b []byte) {
	m.edit(func(f vfs.File) error {
		n, err := f.Size()
		if err != nil {
			return err
		}
		b = make([]byte, min(n, int64(len(m.sound))))
		return readFull(f, b, 0)
	})
	return b
}

// missingSegment is a sealed segment of long and short blocks, with markers, erases and long
// values. A part of its keys differs from life to life; the sizes do not.
func missingSegment(t testing.TB, o Options, life string) *model {
	x := createOf(t, o, 8<<20)
	rng := rand.New(rand.NewPCG(1, 2))
	rev := kv.Revision(0)
	for i, n := range []int{200, 1, 120, 2, 40, 1, 300} {
		for j := range n {
			key := fmt.Sprintf("key.%d", rng.IntN(500))
			if j > n/2 && i > 1 {
				key += life
			} else {
				key += "."
			}
			r := Record{BucketID: testBucket, Floor: rev + 1, Created: int64(rev+1) * 1e9, Op: Put, Key: []byte(key)}
			switch rng.IntN(10) {
			case 0:
				r.Op, r.Reason = Delete, kv.ReasonClient
			case 1:
				r.Op = Erase
			case 2:
				r.Value = []byte(strings.Repeat("long", rng.IntN(2000)))
			default:
				r.Value = []byte(strings.Repeat("v", rng.IntN(60)))
			}
			if r.Op != Erase {
				rev += kv.Revision(1 + rng.IntN(2)) // gaps are legal
				r.Revision = rev
			}
			x.append(r)
		}
		x.index()
	}
	x.seal()
	return newModel(x)
}

// Every page lost in every way, alone and with each of its neighbours and with its index page:
// what Entries finds and the holes are as the bytes that are left say. One lost page is never a
// hole.
func TestMissingPages(t *testing.T) {
	m := missingSegment(t, memOptions(t), "a")
	other := missingSegment(t, memOptions(t), "b")
	size := int64(len(m.sound))
	if size != int64(len(other.sound)) {
		t.Fatalf("%d and %d bytes", size, len(other.sound))
	}
	noise := make([]byte, pageSize)
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	zeros := make([]byte, pageSize)
	holes := 0
	run := func(what string, planted bool, change func(file []byte)) {
		file := bytes.Clone(m.sound)
		change(file)
		m.write(0, file)
		if planted {
			m.checkPlanted(what)
		} else {
			m.check(what)
		}
		holes += len(m.holes)
	}
	put := func(file []byte, page int64, content []byte) { copy(file[page:page+pageSize], content) }
	for page := int64(0); page < size; page += pageSize {
		elsewhere := (page + 7*pageSize) % size
		for name, content := range map[string][]byte{"zeros": zeros, "noise": noise, "another page": m.sound[elsewhere:][:pageSize]} {
			what := fmt.Sprintf("page at %d is %s", page, name)
			run(what, false, func(file []byte) { put(file, page, content) })
			if m.holes != nil {
				t.Errorf("%s: holes %+v", what, m.holes)
			}
		}
		run(fmt.Sprintf("page at %d of another life", page), true, func(file []byte) { put(file, page, other.sound[page:]) })
		for _, second := range []int64{page + pageSize, m.indexed[rng.IntN(len(m.indexed))], m.indexed[len(m.indexed)-1]} {
			if second == page || second >= size {
				continue
			}
			what := fmt.Sprintf("pages at %d and %d", page, second)
			run(what+" are zeros", false, func(file []byte) { put(file, page, zeros); put(file, second, zeros) })
			run(what+" are noise", false, func(file []byte) { put(file, page, noise); put(file, second, noise) })
			run(what+" are others", true, func(file []byte) {
				put(file, page, m.sound[elsewhere:])
				put(file, second, m.sound[(second+3*pageSize)%size:])
			})
			run(what+" are of another life", true, func(file []byte) { put(file, page, other.sound[page:]); put(file, second, other.sound[second:]) })
			run(what+" are zeros and of another life", true, func(file []byte) { put(file, page, other.sound[page:]); put(file, second, zeros) })
		}
		if t.Failed() {
			return
		}
	}
	if holes < 100 {
		t.Errorf("only %d holes", holes)
	}
}

// Bits and sectors, in a sample: a few of them at a time.
func TestMissingBitsAndSectors(t *testing.T) {
	m := missingSegment(t, memOptions(t), "a")
	for seed := range uint64(400) {
		rng := rand.New(rand.NewPCG(seed, 0))
		file := bytes.Clone(m.sound)
		const sector = 512
		for range 1 + rng.IntN(5) {
			switch at := rng.IntN(len(file)); rng.IntN(3) {
			case 0:
				file[at] ^= 1 << rng.IntN(8)
			case 1:
				clear(file[at/sector*sector:][:sector])
			case 2: // where it hurts
				e := &m.entries[rng.IntN(len(m.entries))]
				file[e.Offset+int64(rng.IntN(recordFixedSize))] ^= 1 << rng.IntN(8)
				file[m.indexed[rng.IntN(len(m.indexed))]+int64(rng.IntN(pageSize))] ^= 1 << rng.IntN(8)
			}
		}
		m.write(0, file)
		if m.check(fmt.Sprintf("seed %d", seed)); t.Failed() {
			return
		}
	}
}
