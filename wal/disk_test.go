package wal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"reflect"
	"slices"
	"sync/atomic"
	"testing"

	"kvd/internal/vfs"
	"kvd/internal/vfs/simdisk"
)

const testDir = "log"

// testOptions are small files on a disk, and salts that never repeat.
func testOptions(disk vfs.FS) Options {
	var salt atomic.Uint64 // a rotation and Prepare may call it at the same time
	return Options{
		FS: disk, Dir: testDir, StoreID: testStore, FileSize: 6 * pageSize, MaxSize: 48 * pageSize,
		Salt: func() uint64 { return salt.Add(0x9e3779b97f4a7c15) },
	}
}

func newDisk(t testing.TB) *simdisk.Disk {
	t.Helper()
	disk := simdisk.New()
	check(t, disk.Mkdir(testDir))
	check(t, vfs.SyncDir(disk, "."))
	return disk
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wordsOf are the words of a frame in the tests.
func wordsOf(lsn LSN) Words {
	n := uint64(lsn)
	return Words{Records: n, Sum: n * 0x9e3779b97f4a7c15, Operations: n << 32, Before: 1 << (n % 64), Recent: ^n}
}

// damage returns the first hole, nil if there is none.
func (r *Recovered) damage() *Hole {
	if len(r.Holes) == 0 {
		return nil
	}
	return &r.Holes[0]
}

// content is the payload and the time of a frame.
type content struct {
	payload string
	time    int64
}

// payload makes bytes that identify the frame.
func payload(lsn LSN, size int) string {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(uint64(lsn)*131 + uint64(i)*7 + uint64(i)>>8*13 + 1)
	}
	return string(b)
}

// replayed is the result of one Replay, with its frames.
type replayed struct {
	Recovered
	frames []Frame // payloads copied
}

func (r replayed) contents() map[LSN]content {
	m := make(map[LSN]content, len(r.frames))
	for _, f := range r.frames {
		m[f.LSN] = content{string(f.Payload), f.Time}
	}
	return m
}

// replayAll opens a log and replays it. It checks what must be true of every replay: the
// frames are in order, the gaps between them are the holes, and the summary agrees.
func replayAll(o Options, from LSN) (*Reader, replayed, error) {
	return replayWanted(o, Wanted{From: from})
}

func replayWanted(o Options, w Wanted) (*Reader, replayed, error) {
	var got replayed
	r, err := Open(o)
	if err != nil {
		return nil, got, err
	}
	next := w.From // what has to come next
	if next == 0 {
		next = r.First()
	}
	var holes []Hole
	var wrong error
	w.Frame = func(f Frame) error {
		if f.LSN != next || f.synced >= f.LSN || f.Words != wordsOf(f.LSN) {
			wrong = fmt.Errorf("frame %d was delivered, with synced %d, where frame %d was to come", f.LSN, f.synced, next)
		}
		next = f.LSN + 1
		f.Payload = bytes.Clone(f.Payload)
		got.frames = append(got.frames, f)
		return nil
	}
	w.Hole = func(h Hole) error {
		if h.First != next || h.Last < h.First && h.Last != 0 || h.AfterKnown && h.After != wordsOf(h.Last+1) {
			wrong = fmt.Errorf("hole %+v where frame %d was to come", h, next)
		}
		next = max(next, h.Last+1)
		holes = append(holes, h)
		return nil
	}
	if got.Recovered, err = r.Replay(w); err != nil {
		return nil, got, err
	}
	if wrong == nil && (got.End+1 != next || got.Last > got.End || !reflect.DeepEqual(holes, got.Holes)) {
		wrong = fmt.Errorf("last %d, end %d, holes %v; want %v and then frame %d", got.Last, got.End, got.Holes, holes, next)
	}
	if wrong != nil {
		return nil, got, wrong
	}
	size := int64(0)
	for i, f := range got.frames {
		size += int64(len(f.Payload))
		if i == len(got.frames)-1 && f.LSN != got.Last {
			return nil, got, fmt.Errorf("the last frame is %d, but Last is %d", f.LSN, got.Last)
		}
	}
	if got.Frames != len(got.frames) || got.Bytes != size {
		return nil, got, fmt.Errorf("got %d frames of %d bytes, the summary says %d of %d", len(got.frames), size, got.Frames, got.Bytes)
	}
	return r, got, nil
}

// writer is a log under test that records the frames passed to it.
type writer struct {
	*Log
	t       testing.TB
	written map[LSN]content
	buf     []byte
}

func startLog(t testing.TB, o Options) *writer {
	t.Helper()
	r, got, err := replayAll(o, 0)
	check(t, err)
	if got.damage() != nil {
		t.Fatal(got.damage())
	}
	l, err := r.Start(got.End, wordsOf(got.End+1))
	check(t, err)
	return &writer{Log: l, t: t, written: got.contents()}
}

// add appends a frame with a payload of that many bytes.
func (w *writer) add(size int) LSN {
	w.t.Helper()
	check(w.t, w.Reserve(size))
	c := content{payload(w.Last()+1, size), int64(w.Last()) + 1000}
	w.buf = append(NewFrame(w.buf), c.payload...)
	lsn, err := w.Append(w.buf, c.time, wordsOf(w.Last()+2))
	check(w.t, err)
	w.written[lsn] = c
	return lsn
}

func (w *writer) addSynced(sizes ...int) {
	w.t.Helper()
	for _, n := range sizes {
		w.add(n)
		check(w.t, w.Sync())
	}
}

func (w *writer) vouch() {
	w.t.Helper()
	before := w.Last()
	check(w.t, w.Vouch(7, wordsOf(w.Last()+2)))
	if w.Last() != before {
		w.written[w.Last()] = content{"", 7}
	}
}

// close ends the log with a vouching frame.
func (w *writer) close() {
	w.t.Helper()
	w.vouch()
	check(w.t, w.Close())
}

// wantFrames fails unless got has exactly the frames of want from the LSN from on.
func wantFrames(t testing.TB, got replayed, want map[LSN]content, from LSN) {
	t.Helper()
	want = maps.Clone(want)
	maps.DeleteFunc(want, func(lsn LSN, _ content) bool { return lsn < from })
	if !maps.Equal(got.contents(), want) {
		t.Fatalf("replay delivered %v, written were %v", lsns(got.contents()), lsns(want))
	}
}

func lsns(m map[LSN]content) []LSN { return slices.Sorted(maps.Keys(m)) }

// wantWhole fails unless the log has exactly the frames that were written, without damage.
func wantWhole(t testing.TB, o Options, want map[LSN]content) replayed {
	t.Helper()
	_, got, err := replayAll(o, 0)
	check(t, err)
	if got.damage() != nil || got.Torn != nil {
		t.Fatalf("damage %v, torn %+v", got.damage(), got.Torn)
	}
	wantFrames(t, got, want, 0)
	return got
}

// rom is a read-only directory of files in memory, which is cheap to damage a hundred
// thousand times.
type rom struct {
	vfs.FS // nil: any call that reading does not need fails the test
	files  map[string][]byte
	lost   map[string]map[int64]bool // pages that cannot be read
}

func romOf(t testing.TB, disk *simdisk.Disk) *rom {
	t.Helper()
	r := &rom{files: map[string][]byte{}, lost: map[string]map[int64]bool{}}
	for _, name := range fileNames(t, disk) {
		b, err := disk.ReadFile(path.Join(testDir, name))
		check(t, err)
		r.files[name] = b
	}
	return r
}

func fileNames(t testing.TB, disk vfs.FS) []string {
	t.Helper()
	entries, err := disk.List(testDir)
	check(t, err)
	var names []string
	for _, e := range entries {
		if e.Name != MarkFile {
			names = append(names, e.Name)
		}
	}
	return names
}

// names returns the names of the files of the log, without the mark.
func (r *rom) names() []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(r.files)), func(name string) bool { return name == MarkFile })
}

// setMark writes a mark; 0: there is none.
func (r *rom) setMark(lsn LSN) {
	delete(r.files, MarkFile)
	if lsn > 0 {
		var b [markSize]byte
		mark{lsn: lsn, words: wordsOf(lsn + 1)}.encode(&b, testStore)
		r.files[MarkFile] = b[:]
	}
}

func (r *rom) List(string) ([]vfs.Info, error) {
	var infos []vfs.Info
	for _, name := range slices.Sorted(maps.Keys(r.files)) {
		infos = append(infos, vfs.Info{Name: name, Size: int64(len(r.files[name]))})
	}
	return infos, nil
}

func (r *rom) OpenDir(string) (vfs.Dir, error) { return romDir{}, nil }

type romDir struct{ vfs.Dir }

func (romDir) Sync() error  { return nil }
func (romDir) Close() error { return nil }

func (r *rom) Open(p string, mode vfs.Mode) (vfs.File, error) {
	b, ok := r.files[path.Base(p)]
	if !ok || mode != vfs.ReadOnly {
		return nil, &fs.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
	}
	return &romFile{bytes: b, lost: r.lost[path.Base(p)]}, nil
}

type romFile struct {
	vfs.File
	bytes []byte
	lost  map[int64]bool
}

var errLostPage = errors.New("input/output error")

func (f *romFile) ReadAt(p []byte, off int64) (int, error) {
	for at := off &^ (pageSize - 1); at < off+int64(len(p)); at += pageSize {
		if f.lost[at/pageSize] {
			return 0, errLostPage
		}
	}
	if off >= int64(len(f.bytes)) {
		return 0, io.EOF
	}
	n := copy(p, f.bytes[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *romFile) Size() (int64, error) { return int64(len(f.bytes)), nil }
func (f *romFile) Sync() error          { return nil }
func (f *romFile) Close() error         { return nil }
