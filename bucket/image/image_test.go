package image

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"testing"

	"kvd/internal/golden"
	"kvd/internal/vfs"
	"kvd/internal/vfs/simdisk"
)

const dir = "index"

var key = Key{StoreID: [16]byte{1, 2, 3, 15: 16}, Bucket: 0xab, Descriptor: 0x1122334455667788}

func newDisk(t testing.TB) *simdisk.Disk {
	t.Helper()
	disk := simdisk.New()
	if err := disk.Mkdir(dir); err != nil {
		t.Fatal(err)
	}
	return disk
}

func write(t testing.TB, disk vfs.FS, k Key, content []byte) {
	t.Helper()
	w, err := Create(disk, dir, k)
	if err != nil {
		t.Fatal(err)
	}
	for len(content) > 0 { // in parts of odd sizes
		n := min(len(content), 100_003)
		if got, err := w.Write(content[:n]); got != n || err != nil {
			t.Fatalf("Write returns %d, %v", got, err)
		}
		content = content[n:]
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
}

func read(disk vfs.FS, k Key) ([]byte, error) {
	r, err := Open(disk, dir, k)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err == nil && int64(len(b)) != r.Len() {
		err = fmt.Errorf("%d bytes were read, Len is %d", len(b), r.Len())
	}
	return b, err
}

func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	for _, n := range []int{0, 1, blockSize - 1, blockSize, blockSize + 1, 3*blockSize + 7} {
		disk := newDisk(t)
		content := noise(n)
		write(t, disk, key, content)
		if got, err := read(disk, key); err != nil || !bytes.Equal(got, content) {
			t.Errorf("of %d bytes %d were read, %v", n, len(got), err)
		}
		write(t, disk, key, content[:n/2]) // replaces it
		if got, err := read(disk, key); err != nil || !bytes.Equal(got, content[:n/2]) {
			t.Errorf("of %d bytes %d were read, %v", n/2, len(got), err)
		}
	}
}

func TestFormat(t *testing.T) {
	disk := newDisk(t)
	write(t, disk, key, []byte("content"))
	b, err := disk.ReadFile(dir + "/" + FileName(key.Bucket))
	if err != nil {
		t.Fatal(err)
	}
	golden.Compare(t, "image", b)
}

func TestAFileOfAnotherStateIsStale(t *testing.T) {
	disk := newDisk(t)
	write(t, disk, key, noise(100))
	store, descriptor, bucket := key, key, key
	store.StoreID[3]++
	descriptor.Descriptor++
	bucket.Bucket++
	for _, k := range []Key{store, descriptor} {
		if _, err := read(disk, k); !errors.Is(err, ErrStale) {
			t.Errorf("%+v: %v", k, err)
		}
	}
	if _, err := read(disk, bucket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("another bucket: %v", err)
	}
	if err := disk.Rename(dir+"/"+FileName(key.Bucket), dir+"/"+FileName(bucket.Bucket)); err != nil {
		t.Fatal(err)
	}
	if _, err := read(disk, bucket); !errors.Is(err, ErrStale) {
		t.Errorf("another bucket's file: %v", err)
	}
}

// Each bit of a file, each length, and each block of another file.
func TestDamageIsFound(t *testing.T) {
	content := noise(blockSize + 300)
	whole := newDisk(t)
	write(t, whole, key, content)
	name := dir + "/" + FileName(key.Bucket)
	size := headerSize + len(content) + 2*sumSize
	refused := func(what string, disk *simdisk.Disk) {
		t.Helper()
		if _, err := read(disk, key); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrStale) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for at := 0; at < size; at++ {
		if at > 400 && at < blockSize-100 && at%4099 != 0 {
			continue
		}
		disk := whole.Clone()
		if err := disk.Corrupt(name, int64(at), 1, func(b []byte) { b[0] ^= 1 << (at % 8) }); err != nil {
			t.Fatal(err)
		}
		refused(fmt.Sprintf("bit %d of byte %d", at%8, at), disk)
	}
	for _, n := range []int{0, 1, headerSize - 1, headerSize, headerSize + blockSize, headerSize + blockSize + sumSize, size - 1, size + 1} {
		disk := whole.Clone()
		f, err := disk.Open(name, vfs.ReadWrite)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(int64(n)); err != nil {
			t.Fatal(err)
		}
		refused(fmt.Sprintf("%d bytes of %d", n, size), disk)
	}
	other := key
	other.Descriptor++
	older := newDisk(t)
	write(t, older, other, content)
	block, err := older.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	disk := whole.Clone()
	if err := disk.Corrupt(name, headerSize, blockSize+sumSize, func(b []byte) { copy(b, block[headerSize:]) }); err != nil {
		t.Fatal(err)
	}
	refused("the same block of an older file", disk)
}

// A power cut at each call leaves the old file, the new one, or what Clean removes.
func TestACrashLeavesAWholeFile(t *testing.T) {
	before, after := noise(1000), noise(blockSize+1000)
	for stop := 1; ; stop++ {
		disk := newDisk(t)
		write(t, disk, key, before)
		if err := errors.Join(vfs.SyncDir(disk, dir), vfs.SyncDir(disk, ".")); err != nil {
			t.Fatal(err)
		}
		fault, calls := simdisk.NewFault(disk), 0
		var image *simdisk.Disk
		fault.Inject(func(simdisk.Op) simdisk.Action {
			if calls++; calls == stop {
				image = disk.Crash(simdisk.KeepNone())
			}
			return simdisk.Action{}
		})
		write(t, fault, key, after)
		if image == nil {
			if stop < 5 {
				t.Fatalf("a file takes %d calls", stop)
			}
			return
		}
		if got, err := read(image, key); err != nil || !bytes.Equal(got, before) && !bytes.Equal(got, after) {
			t.Errorf("cut at call %d: %d bytes, %v", stop, len(got), err)
		}
		if err := Clean(image, dir, func(bucket uint64) bool { return bucket == key.Bucket }); err != nil {
			t.Error(err)
		}
		if list, err := image.List(dir); err != nil || len(list) != 1 {
			t.Errorf("cut at call %d: %v, %v", stop, list, err)
		}
	}
}

func TestAnAbortedFileIsGone(t *testing.T) {
	disk := newDisk(t)
	w, err := Create(disk, dir, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(noise(blockSize)); err != nil {
		t.Fatal(err)
	}
	w.Abort()
	if list, err := disk.List(dir); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	if err := Clean(disk, "nowhere", nil); err != nil {
		t.Errorf("cleaning no directory: %v", err)
	}
}

func TestNamesOfOtherFilesAreNotParsed(t *testing.T) {
	if bucket, ok := ParseFileName(FileName(0xfe)); bucket != 0xfe || !ok {
		t.Errorf("%x, %v", bucket, ok)
	}
	for _, name := range []string{"", "00000000000000fe.seg", "00000000000000FE.image", "00000000000000fe.image.new", "+0000000000000fe.image"} {
		if _, ok := ParseFileName(name); ok {
			t.Errorf("%q is taken for an image", name)
		}
	}
}
