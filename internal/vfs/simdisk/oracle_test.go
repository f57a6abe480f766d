package simdisk

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"kvd/internal/vfs"
)

// oracle implements the rules of a disk a second time, byte by byte. It keeps every
// value that a byte may have. It covers files with durable names.
type oracle struct {
	live, synced []byte
	touched      map[int64]bool // sectors written, or beyond a shrunk end, since the sync
	versions     [][]byte       // the whole file after each change since the sync
	sizes        []int64        // the file's sizes since the sync, including the synced one
	dropped      bool           // a sync failed: live has bytes that the disk may not have
}

func newOracle() *oracle {
	o := &oracle{}
	o.sync()
	return o
}

// change records the live bytes after a call.
func (o *oracle) change(live []byte, first, last int64) {
	for s := first / SectorSize; s*SectorSize < last; s++ {
		o.touched[s] = true
	}
	o.live = live
	o.versions = append(o.versions, live)
	o.sizes = append(o.sizes, int64(len(live)))
}

func (o *oracle) sync() {
	o.synced, o.touched, o.versions = o.live, map[int64]bool{}, nil
	o.sizes = []int64{int64(len(o.live))}
}

// check returns the rule that an image of the file breaks, or "".
func (o *oracle) check(image []byte) string {
	if !slices.Contains(o.sizes, int64(len(image))) {
		return fmt.Sprintf("size %d, may be %d", len(image), o.sizes)
	}
	for i := 0; i < len(image); i += SectorSize {
		got := image[i:min(i+SectorSize, len(image))]
		touched := o.touched[int64(i)/SectorSize]
		if touched && contains(o.live, i, got) || contains(o.synced, i, got) {
			continue
		}
		if !touched {
			return fmt.Sprintf("sector %d is not what was synced, and no write touched it", i/SectorSize)
		}
		for k, b := range got {
			k += i
			if b != 0 && b != at(o.synced, k) && !slices.ContainsFunc(o.versions, func(v []byte) bool { return at(v, k) == b }) {
				return fmt.Sprintf("byte %d is %d, which it never was", k, b)
			}
		}
	}
	return ""
}

// contains reports whether a file has those bytes at i. Bytes beyond its end are zero.
func contains(file []byte, i int, want []byte) bool {
	n := min(max(len(file)-i, 0), len(want))
	return (n == 0 || bytes.Equal(file[i:i+n], want[:n])) && bytes.Count(want[n:], []byte{0}) == len(want)-n
}

// at returns a byte of a file, 0 beyond its end.
func at(b []byte, i int) byte {
	if i < len(b) {
		return b[i]
	}
	return 0
}

// FuzzCrash reads its input as a sequence of calls on two files and cuts the
// power after every one of them.
func FuzzCrash(f *testing.F) {
	f.Add([]byte("\x00\x01\x05\x10\x03"), uint64(1))
	f.Add(bytes.Repeat([]byte{0, 7, 200, 1, 9, 3}, 20), uint64(2))
	f.Fuzz(func(t *testing.T, calls []byte, seed uint64) {
		if len(calls) > 150 {
			return // long inputs find nothing more than short ones
		}
		runCrash(t, calls, seed, new(tally))
	})
}

// tally counts the kinds of images, so that a test can check that it saw all of them.
type tally struct{ images, kept, lost, mixed, torn int }

// TestCrashOracle is FuzzCrash with random calls. It also checks that every kind of
// image occurred.
func TestCrashOracle(t *testing.T) {
	var seen tally
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 2))
		calls := make([]byte, 120)
		for i := range calls {
			calls[i] = byte(r.Uint32())
		}
		runCrash(t, calls, seed, &seen)
	}
	if seen.kept < 100 || seen.lost < 100 || seen.mixed < 1000 || seen.torn < 100 {
		t.Errorf("some kind of image never occurred: %+v", seen)
	}
}

func runCrash(t *testing.T, calls []byte, seed uint64, seen *tally) {
	t.Helper()
	d := newDisk(t)
	names := []string{"f", "g"}
	files := []vfs.File{d.stored("f", ""), d.stored("g", "")}
	oracles := []*oracle{newOracle(), newOracle()}
	next := func() int64 {
		if len(calls) == 0 {
			return 0
		}
		b := calls[0]
		calls = calls[1:]
		return int64(b)
	}
	for n := 1; len(calls) > 0; n++ {
		op := next()
		file, o := files[op>>7], oracles[op>>7]
		callOnce(t, file, o, op&15, next, byte(n))
		for i, name := range names {
			o := oracles[i]
			checkLive(t, d, name, o)
			for k, c := range []Choice{
				KeepNone(), Prefix(int(seed) % (d.Pending() + 1)), Random(seed + uint64(n)),
				Odds{Keep: 0.7, Torn: 0.5}.Choice(seed ^ uint64(n)),
			} {
				image := d.crash(c)
				b, err := image.ReadFile(name)
				must(t, err)
				if broken := o.check(b); broken != "" {
					t.Fatalf("after call %d, choice %d: %s: %s", n, k, name, broken)
				}
				if k == 0 && !o.dropped && !bytes.Equal(b, o.synced) {
					t.Fatalf("after call %d: with KeepNone %s differs from what was synced", n, name)
				}
				seen.count(o, b, k)
			}
		}
	}
}

// callOnce makes one call of a file and passes it to the oracle.
func callOnce(t *testing.T, file vfs.File, o *oracle, op int64, next func() int64, fill byte) {
	t.Helper()
	size := int64(len(o.live))
	switch {
	case op < 8: // a write of up to four sectors, or to the end of one
		off, n := next()*37, 1+next()*8
		if op < 2 {
			n = SectorSize - off%SectorSize
		}
		live := slices.Concat(o.live, make([]byte, max(off+n-size, 0)))
		data := bytes.Repeat([]byte{fill}, int(n))
		copy(live[off:], data)
		writeAt(t, file, string(data), off)
		o.change(live, off, off+n)
	case op < 11:
		to := next() * 41
		must(t, file.Truncate(to))
		live := slices.Concat(o.live, make([]byte, max(to-size, 0)))[:to:to]
		o.change(live, to, size)
	case op < 12:
		off, n := next()*40, 1+next()*20
		must(t, file.Allocate(off, n))
		o.change(slices.Concat(o.live, make([]byte, max(off+n-size, 0))), 0, 0)
	case op < 14:
		must(t, file.Sync())
		if o.dropped { // the disk may have any value since the sync before
			o.sizes = o.sizes[len(o.sizes)-1:]
			return
		}
		o.sync()
	case op == 14:
		file.(*openFile).dropSync()
		o.dropped = o.dropped || len(o.versions) > 0
	}
}

func checkLive(t *testing.T, d disk, name string, o *oracle) {
	t.Helper()
	for _, image := range []disk{d, d.crash(KeepAll()), {d.Clone(), t}} {
		if b, err := image.ReadFile(name); err != nil || !bytes.Equal(b, o.live) {
			t.Fatalf("%s differs from the %d bytes that were written: %d bytes, %v", name, len(o.live), len(b), err)
		}
	}
	if all := d.crash(Prefix(d.Pending())); !o.dropped {
		if b, err := all.ReadFile(name); err != nil || !bytes.Equal(b, o.live) {
			t.Fatalf("with every item kept %s differs from what was written: %v", name, err)
		}
	}
}

func (y *tally) count(o *oracle, image []byte, choice int) {
	y.images++
	switch {
	case choice == 0 || bytes.Equal(o.live, o.synced):
	case bytes.Equal(image, o.live):
		y.kept++
	case bytes.Equal(image, o.synced):
		y.lost++
	default:
		y.mixed++
		if tornSector(image, o) {
			y.torn++
		}
	}
}

// tornSector reports whether a sector differs from each of its versions.
func tornSector(image []byte, o *oracle) bool {
	sectorOf := func(b []byte, s int64) []byte {
		padded := make([]byte, SectorSize)
		if s*SectorSize < int64(len(b)) {
			copy(padded, b[s*SectorSize:])
		}
		return padded
	}
	for s := range o.touched {
		got := sectorOf(image, s)
		same := func(v []byte) bool { return bytes.Equal(sectorOf(v, s), got) }
		if !same(nil) && !same(o.synced) && !slices.ContainsFunc(o.versions, same) {
			return true
		}
	}
	return false
}

// TestNamesOracle moves files and cuts the power after every call. Each file contains
// its number, so that it is recognized under any name.
func TestNamesOracle(t *testing.T) {
	const files = 4
	paths := []string{"a", "b", "c", "d/a", "d/b"}
	var undone, kept int
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 3))
		d := newDisk(t)
		must(t, d.Mkdir("d"))
		d.syncDir("/")
		// may holds the names that each file may have after a power cut; "-" is none.
		may := map[byte][]string{}
		livePath := map[byte]string{}
		for id := range byte(files) {
			d.stored(paths[id], string(rune('0'+id)))
			livePath['0'+id], may['0'+id] = paths[id], []string{paths[id]}
		}
		settled := func() {
			for id := range may {
				may[id] = []string{nameOf(livePath, id)}
			}
		}
		dirty := map[string]bool{}
		for n := range 12 {
			from, to := paths[r.IntN(len(paths))], paths[r.IntN(len(paths))]
			switch r.IntN(6) {
			case 0, 1, 2:
				moveName(t, d, livePath, may, from, to)
				dirty["/"], dirty["d"] = true, true
			case 3:
				removeName(t, d, livePath, may, from)
				dirty["/"], dirty["d"] = true, true
			default:
				dir := []string{"/", "d"}[r.IntN(2)]
				d.syncDir(dir)
				if delete(dirty, dir); len(dirty) == 0 {
					settled()
				}
			}
			for k := range 4 {
				found := namesIn(t, d.crash(Random(seed*1000+uint64(n*4+k))), paths)
				for id := range may {
					names := found[id]
					if len(names) == 0 {
						names = []string{"-"}
					}
					if len(names) > 1 || !slices.Contains(may[id], names[0]) {
						t.Fatalf("seed %d, call %d: file %c is at %q, may be at %q", seed, n, id, names, may[id])
					}
					if names[0] == nameOf(livePath, id) {
						kept++
					} else {
						undone++
					}
				}
			}
		}
	}
	if undone < 1000 || kept < 1000 {
		t.Errorf("some kind of image never occurred: %d names as in the live view, %d others", kept, undone)
	}
}

func nameOf(livePath map[byte]string, id byte) string {
	if path, ok := livePath[id]; ok {
		return path
	}
	return "-"
}

func moveName(t *testing.T, d disk, livePath map[byte]string, may map[byte][]string, from, to string) {
	t.Helper()
	for id, path := range livePath {
		if path != from || from == to {
			continue
		}
		for other, path := range livePath {
			if path == to {
				delete(livePath, other)
				may[other] = append(may[other], "-")
			}
		}
		for other, names := range may {
			if other != id && slices.Contains(names, to) {
				may[other] = append(names, "-") // its move away may be lost although this one is kept
			}
		}
		must(t, d.Rename(from, to))
		livePath[id] = to
		may[id] = append(may[id], to)
		return
	}
}

func removeName(t *testing.T, d disk, livePath map[byte]string, may map[byte][]string, path string) {
	t.Helper()
	for id, p := range livePath {
		if p == path {
			must(t, d.Remove(path))
			delete(livePath, id)
			may[id] = append(may[id], "-")
		}
	}
}

// namesIn returns the name of each file on an image, by the file's number.
func namesIn(t *testing.T, image disk, paths []string) map[byte][]string {
	t.Helper()
	found := make(map[byte][]string)
	for _, path := range paths {
		if text := image.text(path); text != "-" {
			found[text[0]] = append(found[text[0]], path)
		}
	}
	return found
}
