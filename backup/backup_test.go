package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"kvd/bucket"
	"kvd/bucket/cut"
	"kvd/internal/environment"
	"kvd/internal/vfs"
	"kvd/internal/vfs/simdisk"
	"kvd/kv"
	"kvd/segment"
)

var ctx = context.Background()

// small returns an archive of a store with records, markers, a memory bucket and a large value.
func small(t testing.TB) []byte {
	t.Helper()
	now := time.Unix(1_800_000_000, 0)
	random := rand.New(rand.NewPCG(1, 1))
	s, err := bucket.Open("db", environment.With(bucket.Options{ReserveSize: -1}, environment.Env{
		FS: vfs.NewRAM(), Manual: true, LargeValue: segment.ValueFileMin, Random: random.Uint64,
		Now: func() time.Time { now = now.Add(time.Millisecond); return now },
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, c := range []kv.Config{{Bucket: "orders", History: 3}, {Bucket: "cache", Storage: kv.MemoryStorage}, {Bucket: "empty"}} {
		if _, err := s.CreateBucket(ctx, c); err != nil {
			t.Fatal(err)
		}
	}
	put(t, s, "orders", "a", "first")
	put(t, s, "orders", "a", "second")
	put(t, s, "orders", "large", strings.Repeat("large value ", 400))
	put(t, s, "cache", "k", "v")
	var archive bytes.Buffer
	report, err := Write(ctx, &archive, s, bucket.BackupOptions{})
	if err != nil || report.Damage != 0 {
		t.Fatal(report, err)
	}
	return archive.Bytes()
}

func put(t testing.TB, s kv.Store, name, key, value string) {
	t.Helper()
	b, err := s.Bucket(ctx, name)
	if err == nil {
		_, err = b.PutString(ctx, key, value)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func verify(archive []byte) error {
	_, err := Verify(ctx, "archive", bytes.NewReader(archive), nil)
	return err
}

// restore restores an archive onto a disk and opens the store.
func restore(t testing.TB, archive []byte, fsys vfs.FS, o cut.Options) *bucket.Store {
	t.Helper()
	o = environment.With(o, environment.Env{FS: fsys})
	if _, err := Restore(ctx, "archive", bytes.NewReader(archive), "new", RestoreOptions{Options: o}); err != nil {
		t.Fatal(err)
	}
	s, err := bucket.Open("new", environment.With(bucket.Options{ReserveSize: -1}, environment.Env{FS: fsys, Manual: true}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestAnArchiveBecomesAStore(t *testing.T) {
	archive := small(t)
	v, err := Verify(ctx, "archive", bytes.NewReader(archive), nil)
	if err != nil || len(v.Content.Buckets) != 3 || v.Damage != 0 {
		t.Fatalf("%+v, %v", v, err)
	}
	s := restore(t, archive, vfs.NewRAM(), cut.Options{})
	b, err := s.Bucket(ctx, "orders")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for e, err := range b.History(ctx, "a") {
		got = append(got, fmt.Sprint(e.Revision, string(e.Value), err))
	}
	e, err := b.Get(ctx, "large")
	if fmt.Sprint(got) != "[1first<nil> 2second<nil>]" || err != nil || string(e.Value) != strings.Repeat("large value ", 400) {
		t.Errorf("history %v; a large value of %d bytes, %v", got, len(e.Value), err)
	}
	if r := s.Report(); r.Buckets != 3 || len(r.Damages) > 0 {
		t.Errorf("report %v", r)
	}
}

// No prefix of an archive is one, and none is taken for one that is longer.
func TestEveryPrefixIsRefused(t *testing.T) {
	archive := small(t)
	for n := range archive {
		if err := verify(archive[:n]); !errors.Is(err, kv.ErrCorrupt) {
			t.Fatalf("the first %d of %d bytes: %v", n, len(archive), err)
		}
	}
	for _, more := range [][]byte{{0}, {1}, make([]byte, blockSize), []byte(strings.Repeat("x", 1000))} {
		if err := verify(append(bytes.Clone(archive), more...)); !errors.Is(err, kv.ErrCorrupt) {
			t.Errorf("%d bytes more: %v", len(more), err)
		}
	}
}

// Every single flipped bit is found.
func TestEveryFlippedBitIsFound(t *testing.T) {
	archive := small(t)
	for bit := range 8 * len(archive) {
		archive[bit/8] ^= 1 << (bit % 8)
		if err := verify(archive); !errors.Is(err, kv.ErrCorrupt) && !errors.Is(err, kv.ErrVersion) {
			t.Fatalf("bit %d of byte %d flipped: %v", bit%8, bit/8, err)
		}
		archive[bit/8] ^= 1 << (bit % 8)
	}
	if err := verify(archive); err != nil {
		t.Fatal(err)
	}
}

// A restore of what is not whole leaves nothing.
func TestNothingIsRestoredOfADamagedArchive(t *testing.T) {
	archive := small(t)
	for n := 0; n < len(archive); n += 97 {
		for what, a := range map[string][]byte{"cut off": archive[:n], "changed": flipped(archive, n)} {
			fsys := vfs.NewRAM()
			o := RestoreOptions{Options: environment.With(cut.Options{}, environment.Env{FS: fsys})}
			if _, err := Restore(ctx, "archive", bytes.NewReader(a), "new", o); err == nil {
				t.Fatalf("%s at %d: restored", what, n)
			}
			if _, err := fsys.Stat("new"); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("%s at %d: the directory is left: %v", what, n, err)
			}
		}
	}
}

func flipped(archive []byte, n int) []byte {
	a := bytes.Clone(archive)
	a[n] ^= 0x10
	return a
}

// archive/tar and sha256sum read an archive too: what the page says is what is there.
func TestAnArchiveIsATarFile(t *testing.T) {
	sums := make(map[string]string)
	var order []string
	r := tar.NewReader(bytes.NewReader(small(t)))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil || h.Mode != 0o600 || h.Typeflag != tar.TypeReg || h.Format != tar.FormatUSTAR {
			t.Errorf("entry %+v: %v", h, err)
		}
		order = append(order, h.Name)
		if h.Name == sumsName {
			checkSums(t, string(content), sums)
			continue
		}
		sum := sha256.Sum256(content)
		sums[h.Name] = hex.EncodeToString(sum[:])
		if h.Name == infoName {
			var info infoJSON
			if err := json.Unmarshal(content, &info); err != nil || len(info.Buckets) != 3 || info.Buckets[0].Name != "orders" || len(info.Buckets[0].Digest) != 32 {
				t.Errorf("%s: %s, %v", infoName, content, err)
			}
		}
		if strings.HasSuffix(h.Name, ".zst") {
			z, _ := zstd.NewReader(bytes.NewReader(content)) // no option can fail
			if raw, err := io.ReadAll(z); err != nil || len(raw) == 0 {
				t.Errorf("entry %s: %d bytes, %v", h.Name, len(raw), err)
			}
			z.Close()
		}
	}
	want := "kvd-backup.json manifest.000000.zst seg/1/0000000000000001.seg.000000.zst seg/1/0000000000000002.val.000000.zst SUMS"
	if got := strings.Join(order, " "); got != want {
		t.Errorf("entries %s, want %s", got, want)
	}
}

func checkSums(t *testing.T, text string, sums map[string]string) {
	t.Helper()
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) != len(sums) {
		t.Errorf("%d sums of %d entries", len(lines), len(sums))
	}
	for _, line := range lines {
		if sum, name, _ := strings.Cut(line, "  "); sums[name] != sum {
			t.Errorf("sum of %s is %s, not %s", name, sums[name], sum)
		}
	}
}

// entry is an entry of an archive that a test writes.
type entry struct {
	name    string
	content []byte
}

// entriesOf returns the entries of an archive but the sums.
func entriesOf(t *testing.T, archive []byte) (entries []entry) {
	r := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if h.Name == sumsName {
			return entries
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, entry{h.Name, content})
	}
}

// archiveOf returns an archive of entries, with right sums.
func archiveOf(t *testing.T, entries []entry) []byte {
	var b bytes.Buffer
	a, err := newArchiver(&b)
	if err != nil {
		t.Fatal(err)
	}
	a.seconds = 1_800_000_000
	for _, e := range entries {
		if err := a.entry(e.name, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.end(&cut.Report{}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// An archive that somebody made to do harm is refused, although its sums are right.
func TestAHostileArchive(t *testing.T) {
	sound := entriesOf(t, small(t))
	z, _ := zstd.NewWriter(nil) // no option can fail
	bomb := z.EncodeAll(make([]byte, 256<<20), nil)
	file := 2 // the first entry of a file
	info := func(change func(*infoJSON)) []entry {
		var i infoJSON
		if err := json.Unmarshal(sound[0].content, &i); err != nil {
			t.Fatal(err)
		}
		change(&i)
		return append([]entry{{infoName, mustJSON(i)}}, sound[1:]...)
	}
	replaced := func(n int, e entry) []entry {
		return append(append(append([]entry{}, sound[:n]...), e), sound[n+1:]...)
	}
	for name, entries := range map[string][]entry{
		"a path above the directory":     replaced(file, entry{"seg/../../../x", sound[file].content}),
		"an absolute path":               replaced(file, entry{"/etc/passwd", sound[file].content}),
		"an entry twice":                 append(append([]entry{}, sound[:file+1]...), sound[file:]...),
		"an entry too few":               append(append([]entry{}, sound[:file]...), sound[file+1:]...),
		"a bomb":                         replaced(file, entry{sound[file].name, bomb}),
		"a bomb in place of a manifest":  replaced(1, entry{sound[1].name, bomb}),
		"a part that is too long":        replaced(file, entry{sound[file].name, make([]byte, packedMax+1)}),
		"a file with a path as its name": info(func(i *infoJSON) { i.Files[0].Name = "../x" }),
		"a file of no bucket":            info(func(i *infoJSON) { i.Files[0].Bucket = 77 }),
		"a huge file":                    info(func(i *infoJSON) { i.Files[0].Size = 1 << 50 }),
		"a negative file":                info(func(i *infoJSON) { i.Files[0].Size = -1 }),
		"a file twice":                   info(func(i *infoJSON) { i.Files[1] = i.Files[0] }),
		"a huge manifest":                info(func(i *infoJSON) { i.Manifest = 1 << 50 }),
		"another position":               info(func(i *infoJSON) { i.LSN++ }),
		"another name of a bucket":       info(func(i *infoJSON) { i.Buckets[0].Name = "other" }),
		"no entries":                     nil,
	} {
		archive := archiveOf(t, entries)
		if err := verify(archive); !errors.Is(err, kv.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
		fsys := simdisk.New()
		o := RestoreOptions{Options: environment.With(cut.Options{}, environment.Env{FS: fsys})}
		if _, err := Restore(ctx, "archive", bytes.NewReader(archive), "new", o); !errors.Is(err, kv.ErrCorrupt) || fsys.Used() != 0 {
			t.Errorf("%s: restore: %v, %d bytes left", name, err, fsys.Used())
		}
	}
	if err := verify(archiveOf(t, sound)); err != nil {
		t.Errorf("the sound entries: %v", err)
	}
	if err := verify(archiveOf(t, info(func(i *infoJSON) { i.Format = 2 }))); !errors.Is(err, kv.ErrVersion) {
		t.Errorf("an archive of a newer program: %v", err)
	}
}

// The archive of a damaged store says so, and is no damaged archive.
func TestAnArchiveOfADamagedStore(t *testing.T) {
	var b bytes.Buffer
	a, err := newArchiver(&b)
	if err != nil {
		t.Fatal(err)
	}
	a.seconds = 1_800_000_000
	for _, e := range entriesOf(t, small(t)) {
		if err := a.entry(e.name, e.content); err != nil {
			t.Fatal(err)
		}
	}
	r := &cut.Report{}
	for i := range 300 {
		r.Damaged(&kv.CorruptError{File: "db/seg/x.seg", Offset: int64(i), Bucket: "orders", Detail: strings.Repeat("very ", 1000), Err: errors.New("I/O error")})
	}
	if err := a.end(r); err != nil {
		t.Fatal(err)
	}
	v, err := Verify(ctx, "archive", bytes.NewReader(b.Bytes()), nil)
	if err != nil || v.Damage != 300 || len(v.Damages) != damagesMax || v.Damages[7].Offset != 7 || v.Damages[7].Bucket != "orders" {
		t.Errorf("%d places of damage, %v", v.Damage, err)
	}
}

// A file of the archive's name is whole or is not there, whenever the power is cut or a call fails.
func TestEveryCallOfWritingAFile(t *testing.T) {
	archive := small(t)
	write := func(fsys vfs.FS) error {
		f, err := create(fsys, "file")
		if err != nil {
			return err
		}
		if _, err := f.Write(archive); err != nil {
			f.Abort()
			return err
		}
		return f.Commit()
	}
	count := simdisk.NewFault(simdisk.New())
	if err := write(count); err != nil {
		t.Fatal(err)
	}
	for n := int64(1); n <= count.Calls()+1; n++ {
		disk := simdisk.New()
		fault := simdisk.NewFault(disk)
		fault.Inject(simdisk.StopAt(n))
		err := write(fault)
		for _, keep := range []simdisk.Choice{simdisk.KeepNone(), simdisk.KeepAll(), simdisk.Random(uint64(n))} {
			got, readErr := disk.Crash(keep).ReadFile("file")
			if err == nil && readErr != nil || readErr == nil && !bytes.Equal(got, archive) {
				t.Errorf("power cut at call %d: %v; then %d bytes of %d, %v", n, err, len(got), len(archive), readErr)
			}
		}
		disk = simdisk.New()
		fault = simdisk.NewFault(disk)
		fault.Inject(simdisk.FailNth(n, vfs.ErrNoSpace))
		if err := write(fault); err != nil && n <= 3 && disk.Used() != 0 {
			t.Errorf("call %d fails: %v; %d bytes are left", n, err, disk.Used())
		}
	}
	disk := simdisk.New()
	for _, name := range []string{"file", "file.partial"} {
		if err := disk.WriteFile(name, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if _, err := create(disk, "file"); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s is there: %v", name, err)
		}
		if err := disk.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzArchive(f *testing.F) {
	f.Add(small(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		fsys := vfs.NewRAM()
		o := RestoreOptions{Options: environment.With(cut.Options{}, environment.Env{FS: fsys})}
		_, err := Restore(ctx, "archive", bytes.NewReader(b), "new", o)
		if err == nil {
			restore(t, b, vfs.NewRAM(), cut.Options{})
		} else if _, err := fsys.Stat("new"); err == nil {
			t.Error("a failed restore has left something")
		}
	})
}
