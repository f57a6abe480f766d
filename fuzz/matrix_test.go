package fuzz

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"kvd/bucket"
	"kvd/internal/vfs"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// The damage matrix: {a bit, a sector, a page} × {zero, noise, older content of the same
// place, another page's} × {log, segments, both copies of the manifest, the mark} ×
// {closed, killed}. Every image is opened, everything is asked, and compared with what the
// sound store answered. No answer may be a lie. And no answer may be refused that does not
// need what was damaged.

var matrixSeed = flag.Uint64("kvd.matrix-seed", 1, "seed of the damage matrix")

// openings are what is done to each image.
var openings = [...]string{"the first open", "the second", "the third, after compaction"}

// outcome is what the openings of an image showed.
type outcome struct {
	answers [len(openings)][]string
	refused int      // answers and conditional writes
	faults  []string // lies, needless refusals, and errors
}

func (o *outcome) fault(format string, args ...any) {
	o.faults = append(o.faults, fmt.Sprintf(format, args...))
}

// examine opens an image twice, and a third time after compaction, asks everything each
// time, and in the end carries conditional writes out. may says which questions the damage
// may leave without an answer.
func (m *matrixStore) examine(dir string, files vfs.FS, may func(question) bool) (o outcome) {
	for i, name := range openings {
		s, err := bucket.Open(dir, m.options(files))
		if err != nil {
			o.fault("%s: %v", name, err)
			return o
		}
		if i > 0 {
			if forgotten := m.unnamed(s, o.answers[i-1]); len(forgotten) > 0 {
				o.fault("%s: it is not known that these are lost: %s", name, first(forgotten))
			}
		}
		o.answers[i] = ask(s, m.questions, m.answers)
		if i > 0 {
			o.compare(name, m.questions, o.answers[i-1], o.answers[i])
		}
		lies, refused := m.compare(o.answers[i])
		if i == len(openings)-1 {
			more, denied := m.compareAndSet(s)
			lies, refused = append(lies, more...), append(refused, denied...)
		}
		o.refused += len(refused)
		refused = slices.DeleteFunc(refused, may)
		if len(lies) > 0 || len(refused) > 0 {
			o.fault("%s: %d lies %s, %d needless refusals %s; %v", name, len(lies), first(lies), len(refused), first(refused), s.Report())
		}
		if i == 1 {
			if _, err := s.Reclaim(context.Background(), nil); err != nil && !errors.Is(err, kv.ErrReadOnly) {
				o.fault("%s: reclaim: %v", name, err)
			}
			o.compare("during compaction", m.questions, o.answers[i], ask(s, m.questions, m.answers))
		}
		if err := s.Close(); err != nil && s.Report().ReadOnly == nil {
			o.fault("%s: close: %v", name, err)
		}
		if len(lies) > 0 {
			return o
		}
	}
	return o
}

// compare finds fault with answers that are not those of before.
func (o *outcome) compare(name string, questions []question, before, after []string) {
	var others []string
	for i, q := range questions {
		if after[i] != before[i] {
			others = append(others, fmt.Sprintf("%v: %.20q, was %.20q", q, after[i], before[i]))
		}
	}
	if len(others) > 0 {
		o.fault("%s: %d other answers than before: %s", name, len(others), first(others))
	}
}

// unnamed lists the records that were found damaged by answers of an earlier opening, and of
// whose loss the store does not tell. Those of a bucket in doubt need not be known.
func (m *matrixStore) unnamed(s *bucket.Store, before []string) (list []question) {
	doubts := map[string]kv.Doubt{}
	for i, q := range m.questions {
		if q.kind != "at" || before[i] != refusedAnswer {
			continue
		}
		d, known := doubts[q.bucket]
		if !known {
			b, err := s.Bucket(context.Background(), q.bucket)
			if err != nil {
				continue
			}
			if d, err = b.(kv.Doubtful).Doubt(context.Background()); err != nil {
				continue
			}
			doubts[q.bucket] = d
		}
		if d.Bound == 0 && !d.Unknown && !slices.Contains(d.Lost, kv.LostRecord{Key: q.key, Revision: q.revision}) {
			list = append(list, q)
		}
	}
	return list
}

// tally counts the images of a test, what was refused in them, and those with faults.
type tally struct{ images, refused, faulty int }

// faultyMax is how many images with faults end a test.
const faultyMax = 5

func (c *tally) log(t *testing.T) { t.Logf("%d images, %d answers refused", c.images, c.refused) }

// try damages a unit of a copy, and fails the test on a lie, or where more is refused than
// may allows. After five such images it does nothing.
func (m *matrixStore) try(t *testing.T, u unit, how string, damage func(b []byte) bool, may func(question) bool, c *tally) {
	t.Helper()
	if c.faulty >= faultyMax {
		return
	}
	disk, changed := m.disk.Clone(), false
	if err := disk.Corrupt(u.file, u.offset, u.size, func(b []byte) { changed = damage(b) }); err != nil {
		t.Fatal(err)
	}
	if !changed {
		return
	}
	o := m.examine("store", disk, may)
	c.images++
	c.refused += o.refused
	c.faulty += min(1, len(o.faults))
	for _, fault := range o.faults {
		t.Errorf("-kvd.matrix-seed=%d: %v, %s, %s", *matrixSeed, u, how, fault)
	}
}

// TestDamageMatrix damages every page and every sector.
func TestDamageMatrix(t *testing.T) {
	for _, closed := range []bool{true, false} {
		for _, size := range []int64{4096, 512} {
			t.Run(fmt.Sprintf("closed=%t/size=%d", closed, size), func(t *testing.T) {
				t.Parallel()
				m := newMatrixStore(t, closed)
				r := rand.New(rand.NewPCG(*matrixSeed, uint64(size)))
				var c tally
				for _, u := range m.units(t, size) {
					for _, d := range damages {
						m.try(t, u, d.name, func(b []byte) bool { return d.f(m, u, b, r) }, m.mayRefuse(u), &c)
					}
				}
				c.log(t)
			})
		}
	}
}

// TestDamageMatrixOfImages damages every page and every sector of a closed store with images of
// its indexes. Damage to an image costs no answer.
func TestDamageMatrixOfImages(t *testing.T) {
	m := newMatrixStore(t, true, func(m *matrixStore) { m.imageKeys = 1 })
	r := rand.New(rand.NewPCG(*matrixSeed, 7))
	images := 0
	for _, size := range []int64{4096, 512} {
		var c tally
		for _, u := range m.units(t, size) {
			for _, d := range damages {
				m.try(t, u, d.name, func(b []byte) bool { return d.f(m, u, b, r) }, m.mayRefuse(u), &c)
			}
			if strings.HasSuffix(u.file, ".image") {
				images++
			}
		}
		c.log(t)
	}
	if images < 20 { // the rest of them is zeros
		t.Errorf("%d parts of images", images)
	}
}

// TestDamageMatrixOfHeldTails damages every page and every sector of a killed store that had in
// memory what the checkpoint does not cover. What only a damaged part of the log had is an error.
func TestDamageMatrixOfHeldTails(t *testing.T) {
	m := newMatrixStore(t, false, func(m *matrixStore) { m.held = true })
	if len(m.tails) > 0 {
		t.Fatalf("%d records are in the tails", len(m.tails))
	}
	r := rand.New(rand.NewPCG(*matrixSeed, 8))
	for _, size := range []int64{4096, 512} {
		var c tally
		for _, u := range m.units(t, size) {
			for _, d := range damages {
				m.try(t, u, d.name, func(b []byte) bool { return d.f(m, u, b, r) }, m.mayRefuse(u), &c)
			}
		}
		c.log(t)
		if c.refused == 0 {
			t.Error("nothing was refused: the damage takes nothing")
		}
	}
}

// TestDamagedLogAfterAPowerCut damages each page and each sector of the log where the segments have nothing
// of what it holds. What is missing is an error, and nothing else is a lie.
func TestDamagedLogAfterAPowerCut(t *testing.T) {
	m := newMatrixStore(t, false)
	m.disk = m.disk.Crash(simdisk.KeepNone())
	r := rand.New(rand.NewPCG(*matrixSeed, 6))
	for _, size := range []int64{4096, 512} {
		units := slices.DeleteFunc(m.units(t, size), func(u unit) bool { return !strings.HasSuffix(u.file, ".wal") })
		var c tally
		for _, u := range units {
			if m.holdsEnd(u) { // nothing vouches for the last frame
				continue
			}
			for _, d := range damages {
				m.try(t, u, d.name, func(b []byte) bool { return d.f(m, u, b, r) }, func(question) bool { return true }, &c)
			}
		}
		c.log(t)
		if c.images < 40 || c.refused == 0 {
			t.Errorf("size=%d: %d images, %d answers refused: nothing was missing", size, c.images, c.refused)
		}
	}
}

// holdsEnd reports whether a unit holds a part of the last frame.
func (m *matrixStore) holdsEnd(u unit) bool {
	return u.file == m.last.file && u.offset+u.size > m.last.offset
}

// TestDamageMatrixOfNeighbours damages two neighbouring pages.
func TestDamageMatrixOfNeighbours(t *testing.T) {
	for _, closed := range []bool{true, false} {
		t.Run(fmt.Sprintf("closed=%t", closed), func(t *testing.T) {
			t.Parallel()
			m := newMatrixStore(t, closed)
			r := rand.New(rand.NewPCG(*matrixSeed, 5))
			var c tally
			for _, u := range m.units(t, 4096) {
				u.size = 8192
				if content, err := m.disk.ReadFile(u.file); err != nil || u.offset+u.size > int64(len(content)) {
					continue
				}
				for _, d := range damages[:2] {
					m.try(t, u, d.name, func(b []byte) bool { return d.f(m, u, b, r) }, m.mayRefuse(u), &c)
				}
			}
			c.log(t)
			if c.refused == 0 {
				t.Error("nothing was refused: the damage takes nothing")
			}
		})
	}
}

// TestAnOpenThatFoundDamageRemovesNothing damages each page of the log after a kill. Where an
// open finds damage, every segment file stays, in its place or among the lost ones: the
// evidence is needed until somebody decides.
func TestAnOpenThatFoundDamageRemovesNothing(t *testing.T) {
	m := newMatrixStore(t, false)
	before := names(t, m.disk, "store/seg")
	found := 0
	for _, u := range m.units(t, 4096) {
		if !strings.HasSuffix(u.file, ".wal") {
			continue
		}
		disk := m.disk.Clone()
		if err := disk.Corrupt(u.file, u.offset, u.size, zero); err != nil {
			t.Fatal(err)
		}
		s, err := bucket.Open("store", m.options(disk))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if len(s.Report().Damages) == 0 {
			continue
		}
		found++
		after := append(names(t, disk, "store/seg"), names(t, disk, "store/lost")...)
		for _, name := range before {
			if !slices.Contains(after, name) {
				t.Errorf("-kvd.matrix-seed=%d: %v: %s was removed", *matrixSeed, u, name)
			}
		}
	}
	if found == 0 {
		t.Error("no open found damage")
	}
}

// names returns the files in a directory, none if there is no such directory.
func names(t *testing.T, disk *simdisk.Disk, dir string) (list []string) {
	t.Helper()
	files, err := disk.List(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, f := range files {
		list = append(list, f.Name)
	}
	return list
}
