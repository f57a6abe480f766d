package segment

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/klauspost/compress/s2"

	"kvd/kv"
)

func noise(n int) []byte {
	b := make([]byte, n)
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func TestCompressWhereItSaves(t *testing.T) {
	for _, size := range []int{compressMin, 1000, 70_000, scratchMax, 3 << 20} {
		value := bytes.Repeat([]byte("abcd"), size/4)
		packed := Compress(value)
		if packed == nil || len(packed) > len(value)-len(value)/8 {
			t.Fatalf("%d bytes become %d", len(value), len(packed))
		}
		r := Record{Compressed: true, RawLen: uint32(len(value)), Value: packed}
		got, err := r.AppendValue([]byte("mine"))
		if err != nil || string(got[:4]) != "mine" || !bytes.Equal(got[4:], value) {
			t.Errorf("%d bytes come back as %d, %v", len(value), len(got), err)
		}
	}
	if Compress(make([]byte, compressMin-1)) != nil {
		t.Error("a small value was compressed")
	}
	if Compress(noise(10_000)) != nil {
		t.Error("a value was compressed although that does not make it shorter")
	}
	// One part in sixteen is not enough.
	if packed := Compress(append(noise(15_000), make([]byte, 1000)...)); packed != nil {
		t.Errorf("16,000 bytes were stored as %d", len(packed))
	}
}

// Read returns the decompressed value in place of the stored bytes. It does not allocate
// if there is room.
func TestReadDecompresses(t *testing.T) {
	x := create(t, osOptions(t))
	value := []byte(strings.Repeat("compressible ", 1000))
	x.append(
		Record{BucketID: testBucket, Revision: 1, Floor: 1, Created: 1e9, Op: Put, Key: []byte("k"), Headers: []byte("headers"),
			Compressed: true, RawLen: uint32(len(value)), Value: Compress(value)},
	)
	e := &x.entries[0]
	if int(e.Size) > len(value)/4 {
		t.Fatalf("%d bytes are stored in %d", len(value), e.Size)
	}
	x.s.Pin()
	defer x.s.Unpin()
	dst := append(make([]byte, 0, len(value)+200), "mine"...)
	read := func() (Record, []byte) {
		r, buf, err := x.s.Read(dst, e.Offset, e.Size, "k", 1)
		if err != nil {
			t.Fatal(err)
		}
		return r, buf
	}
	r, buf := read()
	if r.Compressed || r.RawLen != 0 || !bytes.Equal(r.Value, value) || string(r.Headers) != "headers" || string(r.Key) != "k" || !bytes.HasSuffix(buf, value) {
		t.Errorf("read %q with %d bytes in %d, compressed %v", r.Key, len(r.Value), len(buf), r.Compressed)
	}
	if &buf[0] != &dst[0] {
		t.Error("the value is not in the given buffer")
	}
	if n := testing.AllocsPerRun(100, func() { read() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A value under valid checksums that is no compressed block, or not the right one, is damage.
func TestInvalidCompressedValue(t *testing.T) {
	value := bytes.Repeat([]byte("v"), 500)
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0x0f, 0} // its length is 4 GiB
	for name, r := range map[string]Record{
		"empty":         {RawLen: 500},
		"noise":         {RawLen: 500, Value: noise(200)},
		"longer":        {RawLen: 499, Value: s2.Encode(nil, value)},
		"shorter":       {RawLen: 501, Value: s2.Encode(nil, value)},
		"cut off":       {RawLen: 500, Value: s2.Encode(nil, value)[:8]},
		"with a tail":   {RawLen: 500, Value: append(s2.Encode(nil, value), 1, 2, 3)},
		"too large":     {RawLen: kv.MaxValueSizeLimit, Value: huge},
		"claims a lot":  {RawLen: kv.MaxValueSizeLimit, Value: s2.Encode(nil, value)},
		"claims little": {RawLen: 0, Value: huge},
	} {
		t.Run(name, func(t *testing.T) {
			x := create(t, memOptions(t))
			r.BucketID, r.Revision, r.Floor, r.Op, r.Key, r.Compressed = testBucket, 1, 1, Put, []byte("k"), true
			if _, err := r.AppendValue([]byte("mine")); !errors.Is(err, kv.ErrCorrupt) {
				t.Errorf("decompressed: %v", err)
			}
			b := testSeed.AppendRecord(nil, &r)
			if err := x.s.Reserve(int64(len(b)), 100); err != nil {
				t.Fatal(err)
			}
			offset, err := x.s.Append(b)
			if err != nil {
				t.Fatal(err)
			}
			dst := []byte("mine")
			x.s.Pin()
			defer x.s.Unpin()
			_, buf, err := x.s.Read(dst, offset, uint32(len(b)), "k", 1)
			var corrupt *kv.CorruptError
			if !errors.As(err, &corrupt) || corrupt.Offset != offset || !strings.Contains(err.Error(), `"k"`) || string(buf) != "mine" {
				t.Errorf("read %q, %v", buf, err)
			}
			var c Scanner
			if _, err := c.Scan(x.s, 0, func(_ int64, r *Record, _ int) bool {
				if err := c.Value(r); !errors.As(err, &corrupt) || corrupt.Offset != offset {
					t.Errorf("scanned %q, %v", r.Value, err)
				}
				return true
			}, func(e *kv.CorruptError) { t.Error(e) }); err != nil {
				t.Error(err)
			}
		})
	}
}

func FuzzDecompress(f *testing.F) {
	f.Add([]byte{}, uint32(0))
	f.Add(s2.Encode(nil, bytes.Repeat([]byte("v"), 500)), uint32(500))
	f.Fuzz(func(t *testing.T, b []byte, rawLen uint32) {
		r := Record{Compressed: true, RawLen: rawLen % (1 << 20), Value: b}
		got, err := r.AppendValue(nil)
		if err == nil && len(got) != int(r.RawLen) {
			t.Errorf("%d bytes, but RawLen is %d", len(got), r.RawLen)
		}
	})
}

func BenchmarkCompress(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		for name, value := range map[string][]byte{"text": bytes.Repeat([]byte("some text that repeats. "), size/24+1)[:size], "noise": noise(size)} {
			b.Run(fmt.Sprintf("size=%d/value=%s", size, name), func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					Compress(value)
				}
			})
		}
	}
}
