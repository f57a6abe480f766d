package index

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/cespare/xxhash/v2"

	"kvd/internal/golden"
	"kvd/kv"
)

// image goes on with the index that is read from an image of this one.
func (p *pair) image() {
	p.t.Helper()
	if !p.x.PrepareImage() {
		if len(p.snapshots) == 0 && p.x.ready() {
			p.t.Fatal("no snapshot is open, and there is no image")
		}
		return
	}
	if len(p.snapshots) > 0 {
		p.t.Fatalf("an image under %d snapshots", len(p.snapshots))
	}
	b := imageOf(p.t, p.x)
	x, err := Read(iotest.HalfReader(bytes.NewReader(b)), int64(len(b)))
	if err != nil {
		p.t.Fatal(err)
	}
	p.x = x
	p.x.Delay(p.delayUpTo, p.delay)
	p.checkAll()
}

func imageOf(t testing.TB, x *Index) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := x.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// imaged returns the image of an index that has something of everything.
func imaged(t testing.TB) []byte {
	x := New()
	for rev := kv.Revision(1); rev <= 300; rev++ {
		key := fmt.Sprint("key", rev%40)
		if rev%6 == 0 {
			key = "long"
		}
		v := Version{Revision: rev, Created: int64(rev), Size: 100, Op: kv.Put, Segment: uint32(rev) / 100, Offset: 8 * int64(rev)}
		if rev%7 == 0 {
			v.Deadline = 1 << 40
		}
		x.Apply(Hash(key), key, v, 0, nil)
	}
	for n := range 10 {
		key := fmt.Sprint("key", 4*n)
		x.Trim(Hash(key), key, 400, nil)
	}
	if !x.PrepareImage() || len(x.rings) != 1 || x.Deadlines() == 0 || x.rows.free == 0 {
		t.Fatal("a part is missing")
	}
	return imageOf(t, x)
}

// TestImageFormat fails if the memory of an index has changed. Then images that are on disks
// must not be read any more: imageVersion has to change with it.
func TestImageFormat(t *testing.T) {
	b := imaged(t)
	golden.Compare(t, "image", fmt.Appendf(nil, "version %3d, %6d bytes, hash %016x", imageVersion, len(b), xxhash.Sum64(b)))
}

func TestBrokenImagesAreRefused(t *testing.T) {
	b := imaged(t)
	for n := 0; n < len(b); n += 1 + n/50 {
		if _, err := Read(bytes.NewReader(b[:n]), int64(len(b))); !errors.Is(err, ErrImage) {
			t.Fatalf("of %d bytes the first %d: %v", len(b), n, err)
		}
		if _, err := Read(bytes.NewReader(b), int64(n)); !errors.Is(err, ErrImage) {
			t.Fatalf("%d bytes that should be %d: %v", len(b), n, err)
		}
	}
	other := bytes.Clone(b)
	other[0]++
	if _, err := Read(bytes.NewReader(other), int64(len(b))); !errors.Is(err, ErrImage) {
		t.Errorf("of another version: %v", err)
	}
	torn := errors.New("unreadable")
	if _, err := Read(io.MultiReader(bytes.NewReader(b[:5000]), iotest.ErrReader(torn)), int64(len(b))); !errors.Is(err, torn) {
		t.Errorf("the system's error: %v", err)
	}
	full := errors.New("full")
	x, err := Read(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Write(iotest.TruncateWriter(failing{full}, 0)); err != nil {
		t.Errorf("a writer that drops everything: %v", err)
	}
	if err := x.Write(failing{full}); !errors.Is(err, full) {
		t.Errorf("a writer that fails: %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// FuzzReadImage reads changed images. Their keys would not be found, but nothing is read
// beyond them and no more memory is taken.
func FuzzReadImage(f *testing.F) {
	b := imaged(f)
	f.Add(uint32(0), byte(0))
	f.Add(uint32(7*8), byte(255))
	f.Fuzz(func(t *testing.T, at uint32, with byte) {
		changed := bytes.Clone(b)
		changed[int(at)%len(b)] ^= with
		x, err := Read(bytes.NewReader(changed), int64(len(b)))
		if (x == nil) != (err != nil) || err != nil && !errors.Is(err, ErrImage) {
			t.Fatalf("index %v, error %v", x != nil, err)
		}
	})
}

func BenchmarkImage(b *testing.B) {
	const keys = 1 << 20
	x := New()
	rng := rand.New(rand.NewPCG(1, 2))
	for n := range keys {
		key := fmt.Sprintf("%016x", rng.Uint64())
		x.Apply(Hash(key), key, Version{Revision: kv.Revision(n + 1), Op: kv.Put, Size: 200}, 0, nil)
	}
	if !x.PrepareImage() {
		b.Fatal("not ready")
	}
	image := imageOf(b, x)
	b.Run("Read", func(b *testing.B) {
		for b.Loop() {
			if _, err := Read(bytes.NewReader(image), int64(len(image))); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/keys, "ns/key")
		b.ReportMetric(float64(len(image))/keys, "B/key")
	})
	b.Run("Write", func(b *testing.B) {
		for b.Loop() {
			if err := x.Write(io.Discard); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/keys, "ns/key")
	})
}
