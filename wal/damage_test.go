package wal

import (
	"bytes"
	"errors"
	"flag"
	"path"
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

// at returns the frame that a byte of the file belongs to, if any.
func (s sample) at(file string, offset int64) (Frame, bool) {
	for _, f := range s.frames {
		if path.Base(f.File) == file && f.Offset <= offset && offset < f.Offset+FrameHeaderSize+int64(len(f.Payload)) {
			return f, true
		}
	}
	return Frame{}, false
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

func (s sample) vouching(f Frame) bool { return int(f.LSN) == len(s.frames) }

// replay opens and replays the log from the LSN from on. It fails unless the delivered
// frames are those that were written, in order and without gaps.
func (s sample) replay(t *testing.T, from LSN) (*Reader, Recovered) {
	t.Helper()
	r, err := Open(s.o)
	check(t, err)
	next := from
	got, err := r.Replay(from, func(f Frame) error {
		if int(f.LSN) > len(s.frames) || f.LSN != next {
			t.Fatalf("frame %d was delivered, want frame %d", f.LSN, next)
		}
		g := s.frames[f.LSN-1]
		if !bytes.Equal(f.Payload, g.Payload) || f.Time != g.Time || f.synced != g.synced || f.File != g.File || f.Offset != g.Offset {
			t.Fatalf("frame %d was delivered with other bytes", f.LSN)
		}
		next++
		return nil
	})
	check(t, err)
	if got.Frames != int(next-from) || got.Frames > 0 && got.Last != next-1 {
		t.Fatalf("%d frames up to %d, the summary says %d up to %d", next-from, next-1, got.Frames, got.Last)
	}
	return r, got
}

// wantLast fails unless a replay from 1 delivered everything up to last.
func wantLast(t *testing.T, got Recovered, last LSN) {
	t.Helper()
	if got.Frames != int(last) {
		t.Fatalf("replay delivered %d frames, want %d; damage: %v", got.Frames, last, got.Damage)
	}
}

// wantDamage checks the result of a replay after bytes of frame f were damaged.
func (s sample) wantDamage(t *testing.T, got Recovered, f Frame) {
	t.Helper()
	wantLast(t, got, f.LSN-1)
	if s.vouching(f) {
		if got.Damage != nil {
			t.Fatalf("damage to a vouching frame must be a torn tail, got %v", got.Damage)
		}
		return
	}
	d := got.Damage
	if d == nil {
		t.Fatalf("damage to frame %d was not reported", f.LSN)
	}
	if d.First != f.LSN || d.Last != s.damagedTo(f) || d.Err.File != f.File || d.Err.Offset != f.Offset || !errors.Is(d, kv.ErrCorrupt) {
		t.Fatalf("got %v: %d to %d at %d, want frame %d to %d at %d of %s", d, d.First, d.Last, d.Err.Offset, f.LSN, s.damagedTo(f), f.Offset, f.File)
	}
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
					if f, ok := s.at(name, int64(i)); ok {
						s.wantDamage(t, got, f)
					} else if wantLast(t, got, LSN(len(s.frames))); got.Damage != nil {
						t.Fatalf("%s: byte %d belongs to no frame, got %v", name, i, got.Damage)
					}
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
		if got.Damage != nil {
			t.Fatal(got.Damage)
		}
		inPayload := at >= 2*pageSize+FrameHeaderSize
		if torn := got.Torn; inPayload != (torn != nil) || torn != nil && (torn.LSN != 2 || torn.Offset != 2*pageSize) {
			t.Fatalf("bit %d: torn tail %+v", bit, torn)
		}
		b[at] ^= 1 << (bit % 8)
	}
}

// A log file never becomes shorter, so missing bytes are damage.
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
				last := s.lastBefore(name, int64(n))
				if n < pageSize && !newest {
					last = 0 // the chain is broken
				}
				wantLast(t, got, last)
				// A finished file may lack the bytes after its frames.
				if wantDamage := newest || int(last) < len(s.frames); (got.Damage != nil) != wantDamage {
					t.Fatalf("%s cut to %d bytes: damage %v", name, n, got.Damage)
				}
				if got.Damage != nil && got.Damage.First != last+1 {
					t.Fatalf("%s cut to %d bytes: damage from LSN %d, want %d", name, n, got.Damage.First, last+1)
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
			wantLast(t, got, s.lastBefore(name, int64(n)))
			if got.Damage != nil {
				t.Fatalf("torn at byte %d: %v", n, got.Damage)
			}
			clear(torn[n:end])
			_, got = s.replay(t, 1)
			last := s.lastBefore(name, int64(n))
			if got.Last > last && allZero(whole[n:s.frames[got.Last-1].Offset+FrameHeaderSize+int64(len(s.frames[got.Last-1].Payload))]) {
				last = got.Last // the bytes that were cut off were zeros
			}
			wantLast(t, got, last)
			if got.Damage != nil {
				t.Fatalf("zeros from byte %d on: %v", n, got.Damage)
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
			_, got := s.replay(t, 1)
			hit, isFrame := Frame{}, false
			for at := p.n * pageSize; at < (p.n+1)*pageSize && !isFrame; at++ {
				hit, isFrame = s.at(p.file, int64(at))
			}
			newest := s.newest() == p.file
			switch {
			case isFrame && (readable || !s.vouching(hit)):
				if s.vouching(hit) {
					s.wantDamage(t, got, hit)
					return
				}
				wantLast(t, got, hit.LSN-1)
				if got.Damage == nil || got.Damage.First != hit.LSN {
					t.Fatalf("page %v %s: got %v, want damage to frame %d", p, how, got.Damage, hit.LSN)
				}
			case !readable && newest && p.n > 0 && int64(p.n+1)*pageSize < int64(len(s.files[p.file])):
				if got.Damage == nil {
					t.Fatalf("page %v %s: it may have had frames, but no damage is reported", p, how)
				}
			default:
				wantLast(t, got, LSN(len(s.frames)))
				if got.Damage != nil {
					t.Fatalf("page %v %s: %v", p, how, got.Damage)
				}
			}
			if got.Damage != nil && !readable && !errors.Is(got.Damage, errLostPage) {
				t.Fatalf("page %v: %v does not name its cause", p, got.Damage)
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
				final := f.LSN
				for int(final) < len(s.frames) && s.frames[final].File == f.File {
					final++
				}
				switch skipped := final < from; {
				case from < next:
					if got.Damage == nil || got.Frames != 0 {
						t.Fatalf("frame %d bad, from %d: damage %v, %d frames", f.LSN, from, got.Damage, got.Frames)
					}
				case got.Damage != nil:
					t.Fatalf("frame %d bad, from %d: %v", f.LSN, from, got.Damage)
				default:
					if int(from)+got.Frames-1 != len(s.frames) {
						t.Fatalf("frame %d bad, from %d: %d frames", f.LSN, from, got.Frames)
					}
					if !skipped && (len(got.Notes) != 1 || !strings.Contains(got.Notes[0], "checkpoint covers")) {
						t.Fatalf("frame %d bad, from %d: notes %q", f.LSN, from, got.Notes)
					}
				}
			}
			b[f.Offset+8] ^= 1
		}
	})
}

// The caller's checkpoint proves that frames below it existed.
func TestLogThatEndsBelowTheCheckpointIsDamaged(t *testing.T) {
	forLayouts(t, func(t *testing.T, s sample) {
		last := LSN(len(s.frames))
		r, got := s.replay(t, last+3)
		if got.Damage == nil || got.Damage.First != last+1 || got.Damage.Last != last+2 {
			t.Errorf("got %v", got.Damage)
		}
		if _, err := r.Start(last, wordsOf(last+1)); err == nil {
			t.Error("a damaged log was started")
		}
		clear(s.files)
		_, got = s.replay(t, 5)
		if got.Damage == nil || got.Damage.First != 1 || got.Damage.Last != 4 {
			t.Errorf("without files: got %v", got.Damage)
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

func TestUnreadableHeadersAreDamage(t *testing.T) {
	s := threeFiles(t)
	for i, name := range s.names() {
		b := s.files[name]
		first, last := b[100:101], b[len(b)-1:]
		first[0] ^= 1
		_, got := s.replay(t, 1)
		if got.Damage != nil || len(got.Notes) != 1 {
			t.Errorf("%s without its first header: damage %v, notes %q", name, got.Damage, got.Notes)
		}
		last[0] ^= 1
		_, got = s.replay(t, 1)
		if got.Damage == nil || path.Base(got.Damage.Err.File) != name {
			t.Errorf("%s without headers: %v", name, got.Damage)
		}
		r, err := Open(s.o)
		check(t, err)
		if i+1 < len(s.files) && r.First() == 1 {
			t.Errorf("%s without headers: the log starts at %d", name, r.First())
		}
		first[0] ^= 1
		_, got = s.replay(t, 1)
		if got.Damage != nil || len(got.Notes) != 1 {
			t.Errorf("%s without its last header: damage %v, notes %q", name, got.Damage, got.Notes)
		}
		last[0] ^= 1
	}
}

func TestMissingFiles(t *testing.T) {
	s := threeFiles(t)
	names := s.names()
	for i, name := range names {
		b := s.files[name]
		delete(s.files, name)
		_, got := s.replay(t, 1)
		// Without the newest file the log merely ends earlier; only a checkpoint
		// above its end can tell.
		if newest := i == len(names)-1; (got.Damage == nil) != newest {
			t.Errorf("%s is missing: %v", name, got.Damage)
		}
		_, got = s.replay(t, LSN(len(s.frames)+1))
		if newest := i == len(names)-1; (got.Damage != nil) != newest {
			t.Errorf("%s is missing, a checkpoint covers all: %v", name, got.Damage)
		}
		s.files[name] = b
	}
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
			if got.Damage == nil || path.Base(got.Damage.Err.File) != a {
				t.Errorf("%s with the content of %s: %v", a, b, got.Damage)
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
	if got.Last != 2 || got.Damage != nil || got.Torn == nil || got.Torn.LSN != 3 {
		t.Fatalf("frame 3 is torn, 4 is whole: last %d, damage %v, torn %+v", got.Last, got.Damage, got.Torn)
	}
	v := startLog(t, o) // the final LSN of the first file is 2
	v.addSynced(50)
	flip(2 * pageSize)
	_, got, err = replayAll(o, 0)
	check(t, err)
	if d := got.Damage; d == nil || d.First != 2 || d.Last != 2 {
		t.Errorf("frame 2 is bad: %v", d)
	}
	flip(2 * pageSize)
	flip(3 * pageSize) // all frames are complete again
	wantWhole(t, o, v.written)
	_, got, err = replayAll(o, 3)
	check(t, err)
	wantFrames(t, got, v.written, 3)
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
		if got.Damage != nil || got.Frames != 0 || got.Last != 100 {
			t.Errorf("new header first: %v; last %d, %d frames, damage %v", first, got.Last, got.Frames, got.Damage)
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
	if got.Damage == nil || !strings.Contains(got.Damage.Error(), "both file number") {
		t.Errorf("got %v", got.Damage)
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
