package repo

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"kvd/backup/blob/blobtest"
	"kvd/kv"
)

const (
	sum0 = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
	id0  = "000102030405060708090a0b0c0d0e0f"
)

// example is a list that is right.
func example() listJSON {
	return listJSON{
		Format: format, Store: id0, LSN: 7, Time: time.Unix(1_800_000_000, 5).UTC(),
		Buckets: []bucketJSON{{"b", 3, 2}}, Manifest: partsJSON{100, []part{{sum0, 60}}},
		Files: []fileJSON{{1, "0000000000000012.seg", partsJSON{partSize + 1, []part{{sum0, 99}, {sum0, 9}}}}},
	}
}

// The bytes of a sealed list, as the package page has them.
func TestTheFormatOfAList(t *testing.T) {
	object, sum, err := seal(example())
	if err != nil {
		t.Fatal(err)
	}
	line := `{"format":1,"store":"000102030405060708090a0b0c0d0e0f","lsn":7,"time":"2027-01-15T08:00:00.000000005Z",` +
		`"buckets":[{"name":"b","revision":3,"keys":2}],` +
		`"manifest":{"size":100,"parts":["` + sum0 + `:60"]},` +
		`"files":[{"bucket":1,"name":"0000000000000012.seg","size":4194305,"parts":["` + sum0 + `:99","` + sum0 + `:9"]}]}`
	if want := line + "\nsha256 " + sumOf([]byte(line)) + "\n"; string(object) != want || sum != sumOf([]byte(line)) {
		t.Errorf("it is\n%s", object)
	}
}

func TestNames(t *testing.T) {
	id := baseID{3, 0x1f}
	for name, want := range map[string]generationObject{
		id.epoch.owner():  {epoch: 3, owner: true},
		id.epoch.closed(): {epoch: 3, closed: true},
		id.list():         {epoch: 3, base: true, lsn: 0x1f},
		id.verified():     {epoch: 3, base: true, lsn: 0x1f, verified: true},
	} {
		if got, ok := parseGeneration(name); !ok || got != want {
			t.Errorf("%s is %+v, %v", name, got, ok)
		}
	}
	for _, name := range []string{"", "repo.json", "gen/3/owner.json", "gen/0000000000000003/owner.json.tmp", "gen/000000000000000G/owner.json",
		"gen/0000000000000003/base/1f.json", "gen/0000000000000003/base/owner.json", "x/gen/0000000000000003/owner.json"} {
		if got, ok := parseGeneration(name); ok {
			t.Errorf("%s is %+v", name, got)
		}
	}
}

// A list that no writer makes is refused, although its seal is right.
func TestHostileLists(t *testing.T) {
	for name, change := range map[string]func(*listJSON){
		"another LSN":          func(l *listJSON) { l.LSN++ },
		"no store":             func(l *listJSON) { l.Store = "" },
		"a store in capitals":  func(l *listJSON) { l.Store = strings.ToUpper(id0) },
		"negative damage":      func(l *listJSON) { l.Damage = -1 },
		"no manifest":          func(l *listJSON) { l.Manifest = partsJSON{} },
		"a huge manifest":      func(l *listJSON) { l.Manifest.Size = 1 << 60 },
		"a missing part":       func(l *listJSON) { l.Files[0].Parts = l.Files[0].Parts[:1] },
		"too many parts":       func(l *listJSON) { l.Files[0].Parts = append(l.Files[0].Parts, part{sum0, 1}) },
		"a negative size":      func(l *listJSON) { l.Files[0].Size = -1 },
		"a huge file":          func(l *listJSON) { l.Files[0].Size = 1 << 62 },
		"an empty file":        func(l *listJSON) { l.Files[0].partsJSON = partsJSON{} },
		"a path":               func(l *listJSON) { l.Files[0].Name = "../../etc/passwd" },
		"an absolute path":     func(l *listJSON) { l.Files[0].Name = "/0000000000000012.seg" },
		"two files of a name":  func(l *listJSON) { l.Files = append(l.Files, l.Files[0]) },
		"a sum that is a path": func(l *listJSON) { l.Files[0].Parts[0].sum = "../" + sum0[3:] },
		"a huge part":          func(l *listJSON) { l.Files[0].Parts[0].stored = storedMax + 1 },
		"an empty part":        func(l *listJSON) { l.Files[0].Parts[0].stored = 0 },
	} {
		l := example()
		change(&l)
		place := blobtest.NewMemory()
		id := baseID{1, 7}
		if err := errors.Join(put(t.Context(), place, repoName, repoJSON{format, id0}), put(t.Context(), place, id.list(), l)); err != nil {
			t.Fatal(err)
		}
		all, broken, err := openRepo(t, place).Points(t.Context())
		if len(all) > 0 || len(broken) != 1 || !errors.Is(broken[0], kv.ErrCorrupt) || err != nil {
			t.Errorf("%s: %v, %v, %v", name, all, broken, err)
		}
	}
}

func TestHostileSeals(t *testing.T) {
	sealed := func(line string) []byte { return []byte(line + "\nsha256 " + sumOf([]byte(line)) + "\n") }
	for line, want := range map[string]string{
		`{"format":1,"store":"x","more":1}`: "unknown field",
		`{"format":1}{"format":1}`:          "after top-level value",
		`{"format":0}`:                      "format 0",
		`{"format":"1"}`:                    "cannot unmarshal",
		``:                                  "unexpected end",
	} {
		var j repoJSON
		if _, err := unseal(sealed(line), &j); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", line, err, want)
		}
	}
	var j repoJSON
	if _, err := unseal(sealed(`{"format":2,"new":true}`), &j); !errors.Is(err, kv.ErrVersion) {
		t.Error(err)
	}
	if _, err := unseal(sealed(`{"format":1,"store":"x"}`)[1:], &j); err == nil {
		t.Error("a seal over other bytes is accepted")
	}
}

// bomb is an object that unpacks to far more than a part.
func bomb(t testing.TB, n int) []byte {
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return withSum(e.EncodeAll(make([]byte, n), nil))
}

func withSum(frame []byte) []byte {
	sum := sha256.Sum256(frame)
	return append(append(frame, sumFrame...), sum[:]...)
}

// What unpacks to more than its size is not unpacked.
func TestABombIsNotUnpacked(t *testing.T) {
	p, err := newPacker()
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	object := bomb(t, 1<<28)
	sum := sumOf(make([]byte, 1<<28))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := p.unpack(object, sum, partSize, nil); err == nil {
		t.Error("it was unpacked")
	}
	runtime.ReadMemStats(&after)
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > 4*partSize {
		t.Errorf("%d bytes were allocated", allocated)
	}
}

func FuzzList(f *testing.F) {
	object, _, err := seal(example())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(object[:len(object)-sealSize-1])
	f.Fuzz(func(t *testing.T, line []byte) {
		object := append(append(bytes.Clone(line), "\nsha256 "+sumOf(line)...), '\n')
		var l listJSON
		if _, err := unseal(object, &l); err != nil {
			return
		}
		if l.check(baseID{1, l.LSN}) != nil {
			return
		}
		again, _, err := seal(l)
		if err != nil {
			t.Fatal(err)
		}
		var l2 listJSON
		if _, err := unseal(again, &l2); err != nil {
			t.Fatal(err)
		}
		if err := l2.check(baseID{1, l.LSN}); err != nil {
			t.Fatal(err)
		}
		for p := range l.all {
			for i := range p.Parts {
				if n := p.sizeOf(i); n <= 0 || n > partSize {
					t.Fatalf("a part of %d bytes", n)
				}
			}
		}
	})
}

func FuzzPart(f *testing.F) {
	p, err := newPacker()
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(p.close)
	f.Add(p.pack([]byte("hello hello hello")), uint32(17), false)
	f.Add(bomb(f, 1<<20), uint32(10), false)
	f.Fuzz(func(t *testing.T, frame []byte, size uint32, summed bool) {
		if summed {
			frame = withSum(frame)
		}
		raw, err := p.unpack(frame, sumOf(nil), int64(size%(partSize+1)), nil)
		if err == nil && len(raw) > 0 {
			t.Fatal("bytes with the sum of none")
		}
		if len(frame) <= partSize {
			if back, err := p.unpack(p.pack(frame), sumOf(frame), int64(len(frame)), nil); err != nil || !bytes.Equal(back, frame) {
				t.Fatal(err)
			}
		}
	})
}
