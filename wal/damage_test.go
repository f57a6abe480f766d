package wal

import (
	"bytes"
	"errors"
	"flag"
	"math/rand/v2"
	"path"
	"reflect"
	"slices"
	"strings"
	"testing"

	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

var every = flag.Bool("every", false, "sweep every bit and byte of every layout")

// sample is a closed log, and the places of its frames.
type sample struct {
	*rom
	o       Options
	written map[LSN]content
	frames  []Frame // all of them, in order
}

// layouts are small logs of different shapes. Each ends with a vouching frame.
func layouts(t testing.TB) map[string]sample {
	page := pageSize - FrameHeaderSize
	samples := map[string]sample{}
	for name, c := range map[string]struct {
		pages  int64
		groups [][]int
	}{
		"synced one by one": {6, [][]int{{10}, {100}}},
		"packed":            {5, [][]int{{10, 20, 30}, {100, 7}}},
		"large frames":      {7, [][]int{{5000}, {page}}},
		"packed over pages": {7, [][]int{{3000, 3000, 200}, {3000}}},
		"pages of one sync": {8, [][]int{{10}, {page, page, page}}},
		"two files":         {4, [][]int{{100, 50}, {60}, {1}}},
		"three files":       {4, [][]int{{9}, {3000}, {20}, {6000}}},
	} {
		disk := newDisk(t)
		o := testOptions(disk)
		o.FileSize, o.MaxSize = c.pages*pageSize, 40*pageSize
		w := startLog(t, o)
		for _, group := range c.groups {
			for _, size := range group {
				w.add(size)
			}
			check(t, w.Sync())
		}
		w.close()
		_, got, err := replayAll(o, 0)
		check(t, err)
		o.FS = romOf(t, disk)
		samples[name] = sample{rom: o.FS.(*rom), o: o, written: w.written, frames: got.frames}
	}
	return samples
}

func forLayouts(t *testing.T, f func(t *testing.T, s sample)) {
	for name, s := range layouts(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, s)
		})
	}
}

// damagedTo returns the last frame that is lost when f cannot be read. It is the frame
// before the next one that a search finds, which is on a page boundary of the same file, or
// else the file's last frame.
func (s sample) damagedTo(f Frame) LSN {
	last := f.LSN
	for _, g := range s.frames[f.LSN:] {
		if g.File != f.File || g.Offset%pageSize == 0 {
			break
		}
		last = g.LSN
	}
	return last
}

// replay opens and replays the log from the LSN from on. It fails unless the delivered
// frames are those that were written, in order, and every other frame is in a hole.
func (s sample) replay(t *testing.T, from LSN) (*Reader, Recovered) {
	t.Helper()
	r, got, err := replayAll(s.o, from)
	check(t, err)
	for _, f := range got.frames {
		if int(f.LSN) > len(s.frames) || !reflect.DeepEqual(f, s.frames[f.LSN-1]) {
			t.Fatalf("frame %d was delivered with other bytes", f.LSN)
		}
	}
	return r, got.Recovered
}

// state is what damage has left of a frame.
type state uint8

const (
	sound state = iota
	badPayload
	badHeader
)

// model says how many frames a replay from 1 delivers, and which holes it finds, if some
// frames are bad. durable is what is known beside the files.
func (s sample) model(bad map[LSN]state, durable LSN) (delivered int, holes [][2]LSN) {
	for i := 0; i < len(s.frames); {
		f := s.frames[i]
		if bad[f.LSN] == sound {
			delivered++
			i++
			continue
		}
		newest := path.Base(f.File) == s.newest()
		d := durable
		end := i // behind the frames of this file
		for ; end < len(s.frames) && s.frames[end].File == f.File; end++ {
			g := s.frames[end]
			if newest && end > i && g.Offset%pageSize == 0 && bad[g.LSN] != badHeader {
				d = max(d, g.synced)
			}
		}
		if !newest {
			d = s.frames[end-1].LSN // the next file names it
		}
		if f.LSN > d {
			break
		}
		next := i + 1
		for ; next < end; next++ {
			g := s.frames[next]
			found := g.Offset%pageSize == 0 || next == i+1 && bad[f.LSN] == badPayload
			if found && bad[g.LSN] != badHeader && g.LSN-1 <= d {
				break
			}
		}
		if next < end {
			holes = append(holes, [2]LSN{f.LSN, s.frames[next].LSN - 1})
		} else {
			holes = append(holes, [2]LSN{f.LSN, d})
			if newest {
				break
			}
		}
		i = next
	}
	return delivered, holes
}

// wantModel fails unless a replay found what the model says.
func (s sample) wantModel(t *testing.T, got Recovered, bad map[LSN]state, durable LSN) {
	t.Helper()
	delivered, holes := s.model(bad, durable)
	if got.Frames != delivered {
		t.Fatalf("bad frames %v: %d were delivered, want %d; holes %v", bad, got.Frames, delivered, got.Holes)
	}
	wantHoles(t, got, holes...)
}

// wantHoles fails unless these are the holes.
func wantHoles(t *testing.T, got Recovered, want ...[2]LSN) {
	t.Helper()
	var found [][2]LSN
	for _, h := range got.Holes {
		found = append(found, [2]LSN{h.First, h.Last})
		if !errors.Is(&h, kv.ErrCorrupt) {
			t.Fatalf("%v is no kv.ErrCorrupt", h.Err)
		}
		if h.Last != 0 && h.Last < got.Last && !h.AfterKnown {
			t.Fatalf("the words behind hole %+v are not known, and frame %d was read", h, got.Last)
		}
	}
	if !slices.Equal(found, want) {
		t.Fatalf("holes %v, want %v; %v", found, want, got.damage())
	}
}

// hit returns the frames that have bytes in a part of a file, and what damage to all of it
// leaves of them.
func (s sample) hit(file string, start, end int64) map[LSN]state {
	bad := map[LSN]state{}
	for _, f := range s.frames {
		header, last := f.Offset+FrameHeaderSize, f.Offset+FrameHeaderSize+int64(len(f.Payload))
		switch {
		case path.Base(f.File) != file:
		case f.Offset < end && start < header:
			bad[f.LSN] = badHeader
		case header < end && start < last:
			bad[f.LSN] = badPayload
		}
	}
	return bad
}

func TestEveryFlippedBit(t *testing.T) {
	forLayouts(t, func(t *testing.T, s sample) {
		for name, b := range s.files {
			for i := range b {
				for bit := range 8 {
					if b[i] == 0 && !*every && bit != i%8 || s.skip(8*i+bit) {
						continue // one bit is enough for bytes that are zero
					}
					b[i] ^= 1 << bit
					_, got := s.replay(t, 1)
					s.wantModel(t, got, s.hit(name, int64(i), int64(i)+1), 0)
					b[i] ^= 1 << bit
				}
			}
		}
	})
}

// A frame without a vouching frame after it may look torn, but is never delivered wrong.
func TestEveryFlippedBitOfAnUnvouchedFrame(t *testing.T) {
	disk := newDisk(t)
	o := testOptions(disk)
	w := startLog(t, o)
	w.addSynced(10, 20)
	o.FS = romOf(t, disk)
	s := sample{rom: o.FS.(*rom), o: o, written: w.written}
	b := s.files[s.names()[0]]
	for bit := range (FrameHeaderSize + 20) * 8 {
		at := 2*pageSize + bit/8
		b[at] ^= 1 << (bit % 8)
		_, got, err := replayAll(o, 0)
		check(t, err)
		wantFrames(t, got, map[LSN]content{1: w.written[1]}, 1)
		if got.damage() != nil {
			t.Fatal(got.damage())
		}
		inPayload := at >= 2*pageSize+FrameHeaderSize
		if torn := got.Torn; inPayload != (torn != nil) || torn != nil && (torn.LSN != 2 || torn.Offset != 2*pageSize) {
			t.Fatalf("bit %d: torn tail %+v", bit, torn)
		}
		b[at] ^= 1 << (bit % 8)
	}
}

// A log file never becomes shorter, so missing bytes are damage. What is behind the file is
// delivered.
func TestEveryCutFile(t *testing.T) {
	forLayouts(t, func(t *testing.T, s sample) {
		for name, whole := range s.files {
			newest := s.newest() == name
			for n := range whole {
				if s.skip(n) {
					continue
				}
				s.files[name] = whole[:n]
				_, got := s.replay(t, 1)
				last, final := s.lastBefore(name, int64(n)), s.final(name)
				if n < pageSize { // no header is left
					last = s.frameBefore(name)
				}
				switch {
				case newest: // it may have had more frames than the sample knows of
					wantHoles(t, got, [2]LSN{last + 1, 0})
				case last < final:
					wantHoles(t, got, [2]LSN{last + 1, final})
				default: // it lacks the bytes after its frames
					wantHoles(t, got)
				}
			}
			s.files[name] = whole
		}
	})
}

// newest returns the name of the file of the last write.
func (s sample) newest() string { return path.Base(s.frames[len(s.frames)-1].File) }

// lastBefore returns the last complete frame if the file, or its sound part, ends at offset
// n.
func (s sample) lastBefore(file string, n int64) LSN {
	for _, f := range s.frames {
		if path.Base(f.File) == file && f.Offset+FrameHeaderSize+int64(len(f.Payload)) > n {
			return f.LSN - 1
		}
	}
	return LSN(len(s.frames))
}

// final returns the last frame of a file.
func (s sample) final(file string) (lsn LSN) {
	for _, f := range s.frames {
		if path.Base(f.File) == file {
			lsn = f.LSN
		}
	}
	return lsn
}

// frameBefore returns the frame before the first one of a file.
func (s sample) frameBefore(file string) LSN {
	i := slices.IndexFunc(s.frames, func(f Frame) bool { return path.Base(f.File) == file })
	return s.frames[i].LSN - 1
}

// skip makes a sweep over bytes smaller: large logs are sampled, and under the race detector
// every log is.
func (s sample) skip(n int) bool {
	size := 0
	for _, b := range s.files {
		size += len(b)
	}
	switch {
	case *every:
		return false
	case underRace:
		return n%101 != 0
	}
	return size > 6*pageSize && n%7 != 0
}

// After a power cut the file has its size, and where writes were in flight it has any bytes:
// zeros, or those of an earlier use.
func TestEveryByteOfATornTail(t *testing.T) {
	forLayouts(t, func(t *testing.T, s sample) {
		name := s.newest()
		whole := s.files[name]
		end := len(whole) - pageSize
		other := make([]byte, len(whole)) // every byte differs from whole
		for i := range other {
			other[i] = whole[i] + 1 + byte(i%255)
		}
		torn := make([]byte, len(whole))
		s.files[name] = torn
		for n := pageSize; n < end; n++ {
			if s.skip(n) {
				continue
			}
			copy(torn, whole)
			copy(torn[n:end], other[n:end])
			_, got := s.replay(t, 1)
			if last := s.lastBefore(name, int64(n)); got.Frames != int(last) {
				t.Fatalf("torn at byte %d: %d frames, want %d", n, got.Frames, last)
			}
			if got.damage() != nil {
				t.Fatalf("torn at byte %d: %v", n, got.damage())
			}
			clear(torn[n:end])
			_, got = s.replay(t, 1)
			last := s.lastBefore(name, int64(n))
			if got.Last > last && allZero(whole[n:s.frames[got.Last-1].Offset+FrameHeaderSize+int64(len(s.frames[got.Last-1].Payload))]) {
				last = got.Last // the bytes that were cut off were zeros
			}
			if got.Frames != int(last) {
				t.Fatalf("zeros from byte %d on: %d frames, want %d", n, got.Frames, last)
			}
			if got.damage() != nil {
				t.Fatalf("zeros from byte %d on: %v", n, got.damage())
			}
		}
	})
}

// Whole pages become bad: zeroed, replaced by another page of the log, or unreadable.
func TestEveryBadPage(t *testing.T) {
	type page struct {
		file string
		n    int
	}
	forLayouts(t, func(t *testing.T, s sample) {
		var pages []page
		for name, b := range s.files {
			for n := range len(b) / pageSize {
				pages = append(pages, page{name, n})
			}
		}
		bytesOf := func(p page) []byte { return s.files[p.file][p.n*pageSize:][:pageSize] }
		try := func(p page, how string, readable bool) {
			t.Helper()
			_, got := s.replay(t, 1)
			start := int64(p.n) * pageSize
			bad := s.hit(p.file, start, start+pageSize)
			unknown := !readable && s.newest() == p.file && p.n > 0 && start+pageSize < int64(len(s.files[p.file]))
			if _, holes := s.model(bad, 0); len(holes) == 0 && unknown { // frames may have been there
				last := LSN(len(s.frames))
				for lsn := range bad {
					last = min(last, lsn-1)
				}
				wantHoles(t, got, [2]LSN{last + 1, 0})
			} else {
				s.wantModel(t, got, bad, 0)
			}
			if len(got.Holes) > 0 && !readable && !errors.Is(got.damage(), errLostPage) {
				t.Fatalf("page %v, %s: %v does not name its cause", p, how, got.damage())
			}
		}
		for _, p := range pages {
			was := bytes.Clone(bytesOf(p))
			for _, q := range pages {
				copy(bytesOf(p), bytesOf(q))
				if p != q && !bytes.Equal(was, bytesOf(p)) {
					try(p, "replaced by another", true)
				}
				copy(bytesOf(p), was)
			}
			clear(bytesOf(p))
			try(p, "zeroed", true)
			copy(bytesOf(p), was)
			s.lost[p.file] = map[int64]bool{int64(p.n): true}
			try(p, "lost", false)
			delete(s.lost, p.file)
		}
	})
}

// Damage below the checkpoint is a note, and every frame that the caller needs is delivered.
func TestDamageBelowTheCheckpointIsANote(t *testing.T) {
	forLayouts(t, func(t *testing.T, s sample) {
		for _, f := range s.frames[:len(s.frames)-1] {
			b := s.files[path.Base(f.File)]
			b[f.Offset+8] ^= 1
			next := s.damagedTo(f) + 1
			for from := f.LSN + 1; int(from) <= len(s.frames); from++ {
				_, got := s.replay(t, from)
				if from < next {
					wantHoles(t, got, [2]LSN{from, next - 1})
					if got.Frames != len(s.frames)-int(next)+1 {
						t.Fatalf("frame %d bad, from %d: %d frames", f.LSN, from, got.Frames)
					}
					continue
				}
				wantHoles(t, got)
				if int(from)+got.Frames-1 != len(s.frames) {
					t.Fatalf("frame %d bad, from %d: %d frames", f.LSN, from, got.Frames)
				}
				if skipped := s.final(path.Base(f.File)) < from; !skipped && (len(got.Notes) != 1 || !strings.Contains(got.Notes[0], "checkpoint covers")) {
					t.Fatalf("frame %d bad, from %d: notes %q", f.LSN, from, got.Notes)
				}
			}
			b[f.Offset+8] ^= 1
		}
	})
}

// A log may end below what the caller needs: then nothing that it needs is missing, and the
// log continues above it. Without any file nobody knows, unless the log was closed.
func TestLogThatEndsBelowTheCheckpoint(t *testing.T) {
	forLayouts(t, func(t *testing.T, s sample) {
		last := LSN(len(s.frames))
		r, got := s.replay(t, last+3)
		wantHoles(t, got)
		if got.End != last+2 || len(got.Notes) != 1 || !strings.Contains(got.Notes[0], "checkpoint covers") {
			t.Errorf("the log ends at %d, notes %q", got.End, got.Notes)
		}
		if r.mayStart(last) == nil || r.mayStart(last+2) != nil {
			t.Error("the log would continue at an LSN that was durable")
		}
		clear(s.files)
		_, got = s.replay(t, 5)
		wantHoles(t, got, [2]LSN{5, 0})
		_, closed, err := replayWanted(s.o, Wanted{From: 5, Closed: true})
		check(t, err)
		wantHoles(t, closed.Recovered)
		if closed.End != 4 || len(closed.Notes) != 1 {
			t.Errorf("closed: the log ends at %d, notes %q", closed.End, closed.Notes)
		}
	})
}

// What the caller knows to have been durable is a hole if the log ends below it.
func TestTheCallersProof(t *testing.T) {
	forLayouts(t, func(t *testing.T, s sample) {
		last := LSN(len(s.frames))
		r, got, err := replayWanted(s.o, Wanted{From: 1, Durable: last + 2})
		check(t, err)
		wantHoles(t, got.Recovered, [2]LSN{last + 1, last + 2})
		if got.Frames != len(s.frames) || got.Holes[0].AfterKnown || r.mayStart(last) == nil || r.mayStart(last+2) != nil {
			t.Errorf("%d frames, hole %+v", got.Frames, got.Holes[0])
		}
	})
}

// After a clean close nothing in the log is needed. Whatever is bad in it is a note, and a
// use of the file repairs it.
func TestDamageToAClosedLogIsANote(t *testing.T) {
	forLayouts(t, func(t *testing.T, s sample) {
		last := LSN(len(s.frames))
		replay := func(what string) {
			t.Helper()
			r, got, err := replayWanted(s.o, Wanted{From: last + 1, Closed: true})
			check(t, err)
			if len(got.Holes) > 0 || got.End != last || r.mayStart(last) != nil || len(r.Damaged()) > 0 {
				t.Fatalf("%s: the log ends at %d of %d, %v", what, got.End, last, got.damage())
			}
		}
		for _, name := range s.names() {
			whole := s.files[name]
			for at := 0; at < len(whole); at += pageSize {
				for _, page := range [][]byte{make([]byte, pageSize), bytes.Repeat([]byte{0xee}, pageSize)} {
					s.files[name] = slices.Concat(whole[:at], page, whole[at+pageSize:])
					replay(name)
				}
				s.files[name] = whole
				s.lost[name] = map[int64]bool{int64(at / pageSize): true}
				replay(name)
				delete(s.lost, name)
			}
			s.files[name] = whole[:100]
			replay(name + " cut")
			delete(s.files, name)
			replay(name + " gone")
			s.files[name] = whole
		}
	})
}

// threeFiles is a log over three files with frames in each.
func threeFiles(t *testing.T) sample {
	s := layouts(t)["three files"]
	if len(s.files) < 3 {
		t.Fatalf("files %v", s.names())
	}
	return s
}

// A file without a readable header is a hole, and so is a missing one. The files before and
// behind it are replayed.
func TestFilesWithoutAHeaderAreHoles(t *testing.T) {
	s := threeFiles(t)
	end := LSN(len(s.frames))
	for _, name := range s.names() {
		b := s.files[name]
		first, last := b[100:101], b[len(b)-1:]
		first[0] ^= 1
		_, got := s.replay(t, 1)
		wantHoles(t, got)
		if len(got.Notes) != 1 {
			t.Errorf("%s without its first header: notes %q", name, got.Notes)
		}
		last[0] ^= 1
		hole := [2]LSN{s.frameBefore(name) + 1, s.final(name)}
		for _, mark := range []LSN{0, end} {
			for _, missing := range []bool{false, true} {
				if missing {
					delete(s.files, name)
				}
				s.setMark(mark)
				r, got := s.replay(t, 1)
				newest := name == s.newest()
				switch {
				case newest && mark == 0 && missing:
					wantHoles(t, got) // nothing shows that there was another file
				case newest && mark == 0:
					wantHoles(t, got, [2]LSN{hole[0], 0})
				default:
					wantHoles(t, got, hole)
					if got.Frames != len(s.frames)-int(hole[1]-hole[0])-1 || !got.Holes[0].AfterKnown || r.mayStart(end) != nil {
						t.Errorf("%s: %d frames, %+v", name, got.Frames, got.Holes[0])
					}
				}
				if !missing && (path.Base(got.damage().Err.File) != name || !slices.Equal(r.Damaged(), []string{path.Join(testDir, name)})) {
					t.Errorf("%s without headers: %v, damaged %q", name, got.damage(), r.Damaged())
				}
				for from := hole[1] + 1; from <= end; from++ { // not needed
					_, got := s.replay(t, from)
					if name == "0000000000000001.wal" && !missing {
						wantHoles(t, got, [2]LSN{end + 1, 0}) // it may as well be the newest
					} else {
						wantHoles(t, got)
					}
				}
			}
			s.files[name] = b
		}
		s.setMark(0)
		first[0] ^= 1
		_, got = s.replay(t, 1)
		wantHoles(t, got)
		if len(got.Notes) != 1 {
			t.Errorf("%s without its last header: notes %q", name, got.Notes)
		}
		last[0] ^= 1
	}
}

// Of two missing files in a row nothing names the end of the file before them. Of that one
// the frames are delivered that a later one shows to have been durable.
func TestTwoMissingFilesAreOneHole(t *testing.T) {
	s := threeFiles(t)
	names := s.names()
	if len(names) != 4 {
		t.Fatalf("files %q", names)
	}
	one, two := s.files[names[1]], s.files[names[2]]
	delete(s.files, names[1])
	delete(s.files, names[2])
	_, got := s.replay(t, 1)
	wantHoles(t, got, [2]LSN{s.final(names[0]), s.final(names[2])})
	s.files[names[1]], s.files[names[2]] = one, two
	delete(s.files, names[0])
	delete(s.files, names[1])
	_, got = s.replay(t, 1)
	wantHoles(t, got, [2]LSN{1, s.final(names[1])})
	delete(s.files, names[2])
	delete(s.files, names[3])
	s.setMark(LSN(len(s.frames)))
	_, got = s.replay(t, 1)
	wantHoles(t, got, [2]LSN{1, LSN(len(s.frames))})
}

func TestFilesInEachOthersPlace(t *testing.T) {
	s := threeFiles(t)
	for _, a := range s.names() {
		for _, b := range s.names() {
			if a == b {
				continue
			}
			was := s.files[a]
			s.files[a] = s.files[b] // a copy: both names hold it
			_, got := s.replay(t, 1)
			if got.damage() == nil || path.Base(got.damage().Err.File) != a {
				t.Errorf("%s with the content of %s: %v", a, b, got.damage())
			}
			s.files[a] = was
		}
	}
}

func TestFileOfAnotherStore(t *testing.T) {
	s := threeFiles(t)
	s.o.StoreID[15]++
	_, err := Open(s.o)
	var corrupt *kv.CorruptError
	if !errors.As(err, &corrupt) || path.Base(corrupt.File) != s.names()[0] || !strings.Contains(corrupt.Detail, "belongs to store 000102") {
		t.Errorf("got %v", err)
	}
}

func TestFileOfANewerVersion(t *testing.T) {
	s := threeFiles(t)
	page := (*[pageSize]byte)(s.files[s.names()[1]])
	page[headerVersionAt] = formatVersion + 1
	reseal(page, 0)
	if _, err := Open(s.o); !errors.Is(err, kv.ErrVersion) || !strings.Contains(err.Error(), s.names()[1]) {
		t.Errorf("got %v", err)
	}
}

// Frames after the final one of a finished file were torn, and are never read, even if they
// are complete.
func TestFramesAfterTheFinalOneAreNotRead(t *testing.T) {
	disk := newDisk(t)
	o := testOptions(disk)
	o.FileSize = 8 * pageSize
	w := startLog(t, o)
	w.addSynced(10, 20)
	name := w.file.path
	w.add(pageSize - FrameHeaderSize) // 3: a whole page, so 4 is on a boundary
	w.add(30)
	flip := func(offset int64) {
		check(t, disk.Corrupt(name, offset, 1, func(b []byte) { b[0] ^= 1 }))
	}
	flip(3 * pageSize)
	_, got, err := replayAll(o, 0)
	check(t, err)
	if got.Last != 2 || got.damage() != nil || got.Torn == nil || got.Torn.LSN != 3 {
		t.Fatalf("frame 3 is torn, 4 is whole: last %d, damage %v, torn %+v", got.Last, got.damage(), got.Torn)
	}
	v := startLog(t, o) // the final LSN of the first file is 2
	v.addSynced(50)
	flip(2 * pageSize)
	_, got, err = replayAll(o, 0)
	check(t, err)
	if d := got.damage(); d == nil || d.First != 2 || d.Last != 2 {
		t.Errorf("frame 2 is bad: %v", d)
	}
	flip(2 * pageSize)
	flip(3 * pageSize) // all frames are complete again
	wantWhole(t, o, v.written)
	_, got, err = replayAll(o, 3)
	check(t, err)
	wantFrames(t, got, v.written, 3)
}

// The frame behind the final one of a file was torn. Its header is sound, but the words
// behind a hole before it are those that the next file names.
func TestTheNextFileNamesTheWordsBehindAHole(t *testing.T) {
	disk := newDisk(t)
	o := testOptions(disk)
	o.FileSize = 8 * pageSize
	w := startLog(t, o)
	w.addSynced(10, 20)
	name := w.file.path
	w.add(30)
	flip := func(offset int64) {
		check(t, disk.Corrupt(name, offset, 1, func(b []byte) { b[0] ^= 1 }))
	}
	flip(3*pageSize + FrameHeaderSize) // frame 3 is torn
	r, got, err := replayAll(o, 0)
	check(t, err)
	named := wordsOf(100)
	l, err := r.Start(got.End, named)
	check(t, err)
	v := &writer{Log: l, t: t, written: got.contents()}
	v.addSynced(50)
	flip(2 * pageSize)
	r, err = Open(o)
	check(t, err)
	again, err := r.Replay(Wanted{Frame: func(Frame) error { return nil }})
	check(t, err)
	wantHoles(t, again, [2]LSN{2, 2})
	if h := again.Holes[0]; h.After != named {
		t.Errorf("behind frame 2 the words are %+v, and the next file names %+v", h.After, named)
	}
}

// If the two headers belong to different uses of the file, the later use counts, and the
// frames of the other are ignored.
func TestTheHigherOfTwoHeadersCounts(t *testing.T) {
	for _, first := range []bool{true, false} {
		s := layouts(t)["synced one by one"]
		b := s.files[s.newest()]
		h, err := decodeHeader((*[pageSize]byte)(b), 1, 0)
		check(t, err)
		h.number, h.prev, h.after, h.salt = 9, 8, 100, 1
		offset := int64(0)
		if !first {
			offset = h.end()
		}
		h.encode((*[pageSize]byte)(b[offset:]), offset)
		_, got, err := replayAll(s.o, 101)
		check(t, err)
		if got.damage() != nil || got.Frames != 0 || got.Last != 100 {
			t.Errorf("new header first: %v; last %d, %d frames, damage %v", first, got.Last, got.Frames, got.damage())
		}
	}
}

func TestTwoFilesOfOneNumberAreDamage(t *testing.T) {
	s := threeFiles(t)
	b := bytes.Clone(s.files[s.newest()])
	fileID, _ := parseName(s.newest(), fileSuffix)
	h, err := decodeHeader((*[pageSize]byte)(b), fileID, 0)
	check(t, err)
	h.fileID = 77
	h.encode((*[pageSize]byte)(b), 0)
	h.encode((*[pageSize]byte)(b[h.end():]), h.end())
	s.files[fileName(77)] = b
	_, got, err := replayAll(s.o, 1)
	check(t, err)
	if got.damage() == nil || !strings.Contains(got.damage().Error(), "both file number") {
		t.Errorf("got %v", got.damage())
	}
}

// The old frames of a recycled file are never valid, even if LSN, length and payload equal
// those of the new frames.
func TestStaleFramesOfTheSameShapeAreInvalid(t *testing.T) {
	disk := newDisk(t)
	o := testOptions(disk)
	w := startLog(t, o)
	path := w.file.path
	w.addSynced(100, 100, 100)
	old, err := disk.ReadFile(path)
	check(t, err)
	check(t, w.Close())

	// Another log, of the same store, file name and number, with the same frames.
	disk = newDisk(t)
	o.FS = disk
	w = startLog(t, o)
	w.addSynced(100)
	for at := int64(2 * pageSize); at < o.FileSize-pageSize; at += pageSize {
		check(t, disk.Corrupt(path, at, pageSize, func(b []byte) { copy(b, old[at:]) }))
	}
	wantWhole(t, o, w.written)
	// Old bytes at the place of the new frame: the header or the payload alone.
	for _, span := range [][2]int64{{0, FrameHeaderSize}, {FrameHeaderSize, 100}} {
		new, err := disk.ReadFile(path)
		check(t, err)
		at := pageSize + span[0]
		check(t, disk.Corrupt(path, at, span[1], func(b []byte) { copy(b, old[at:]) }))
		_, got, err := replayAll(o, 0)
		check(t, err)
		if got.Frames != 0 && !bytes.Equal(new[at:at+span[1]], old[at:at+span[1]]) {
			t.Errorf("a frame with old bytes at %v was delivered", span)
		}
		check(t, disk.Corrupt(path, at, span[1], func(b []byte) { copy(b, new[at:]) }))
	}
}

func TestOpenReturnsTheSystemsErrors(t *testing.T) {
	errBroken := errors.New("broken")
	disk := newDisk(t)
	o := testOptions(disk)
	w := startLog(t, o)
	w.addSynced(10)
	w.close()
	for _, kind := range []simdisk.OpKind{simdisk.OpList, simdisk.OpOpen, simdisk.OpSize, simdisk.OpSync} {
		fault := simdisk.NewFault(disk)
		fault.Inject(simdisk.FailKind(kind, errBroken))
		o.FS = fault
		if _, _, err := replayAll(o, 0); !errors.Is(err, errBroken) || !strings.HasPrefix(err.Error(), "wal: ") {
			t.Errorf("%v: got %v", kind, err)
		}
	}
}

// Random frames are damaged, and a random mark proves some of them. What is delivered is
// what can be read and what the model says.
func TestRandomDamageAgainstTheModel(t *testing.T) {
	const seed = 11
	random := rand.New(rand.NewPCG(seed, 0))
	rounds := 3000
	if underRace {
		rounds = 200
	}
	for name, s := range layouts(t) {
		for range rounds {
			bad := map[LSN]state{}
			var undo []func()
			for _, f := range s.frames {
				if random.IntN(3) > 0 {
					continue
				}
				b := s.files[path.Base(f.File)]
				at := f.Offset + random.Int64N(FrameHeaderSize)
				bad[f.LSN] = badHeader
				if n := len(f.Payload); n > 0 && random.IntN(2) == 0 {
					at, bad[f.LSN] = f.Offset+FrameHeaderSize+random.Int64N(int64(n)), badPayload
				}
				was := b[at]
				b[at] += 1 + byte(random.IntN(255))
				undo = append(undo, func() { b[at] = was })
			}
			durable := LSN(random.IntN(len(s.frames) + 1))
			s.setMark(durable)
			_, got := s.replay(t, 1)
			s.wantModel(t, got, bad, durable)
			if t.Failed() {
				t.Fatalf("seed %d, %s", seed, name)
			}
			for _, f := range undo {
				f()
			}
		}
		s.setMark(0)
	}
}

// The log continues behind a hole, in a fresh file and above all that was durable. It never
// uses or removes the file with the hole.
func TestStartBehindAHole(t *testing.T) {
	disk := newDisk(t)
	o := testOptions(disk)
	w := startLog(t, o)
	w.addSynced(3000, 3000, 3000, 3000, 3000)
	w.add(10)
	check(t, w.Sync())
	last, newest := w.Last(), w.file.path
	check(t, w.closeFiles())
	check(t, disk.Corrupt(newest, pageSize, 5*pageSize-pageSize, func(b []byte) { clear(b) })) // all frames of the newest file
	r, got, err := replayAll(o, 1)
	check(t, err)
	h := got.damage()
	if h == nil || h.Last != last || !h.AfterKnown || got.End != last || !slices.Equal(r.Damaged(), []string{newest}) {
		t.Fatalf("hole %+v, the log ends at %d, damaged %q", h, got.End, r.Damaged())
	}
	before, err := disk.ReadFile(newest)
	check(t, err)
	if _, err := r.Start(got.Last, wordsOf(got.Last+1)); err == nil {
		t.Error("an LSN that was durable was given away again")
	}
	l, err := r.Start(got.End, h.After)
	check(t, err)
	v := &writer{Log: l, t: t, written: map[LSN]content{}}
	if lsn := v.add(10); lsn != last+1 {
		t.Errorf("the next frame is %d, want %d", lsn, last+1)
	}
	for range 8 {
		v.addSynced(5000)
		check(t, v.Recycle(v.Last()))
	}
	after, err := disk.ReadFile(newest)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("the file with the hole was changed: %v", err)
	}
	v.close()
	_, got, err = replayAll(o, v.Last()-2)
	check(t, err)
	wantHoles(t, got.Recovered)
	if got.Frames != 3 {
		t.Errorf("%d frames", got.Frames)
	}
}

// The newest file cannot be read, and the log continues behind it. When the file can be
// read again, it is not part of the log any more.
func TestAFileThatComesBackIsIgnored(t *testing.T) {
	disk := newDisk(t)
	o := testOptions(disk)
	w := startLog(t, o)
	w.addSynced(3000, 3000, 3000, 3000, 3000)
	newest := w.file.path
	check(t, w.closeFiles())
	whole, err := disk.ReadFile(newest)
	check(t, err)
	check(t, disk.WriteFile(newest, nil))
	r, got, err := replayAll(o, 1)
	check(t, err)
	l, err := r.Start(got.End, wordsOf(got.End+1))
	check(t, err)
	v := &writer{Log: l, t: t, written: map[LSN]content{}}
	v.addSynced(10)
	v.close()
	check(t, disk.WriteFile(newest, whole))
	r, got, err = replayAll(o, got.End+1)
	check(t, err)
	wantHoles(t, got.Recovered)
	wantFrames(t, got, v.written, 0)
	if len(r.stale) != 1 || r.stale[0].path != newest {
		t.Errorf("outside the chain are %v", r.stale)
	}
}
