package wal

import (
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path"
	"strings"
	"testing"

	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// golden is a dump of a log of version 2: the files of goldenLog, and its mark.
//
//go:embed testdata/v2.golden
var golden string

// golden1 is a dump of a log of version 1, which was never released.
//
//go:embed testdata/v1.golden
var golden1 string

// goldenLog writes a log of two files with everything that the format has: packed and synced
// frames, a frame over two pages, an empty one, and a vouching frame.
func goldenLog(t testing.TB, disk *simdisk.Disk) *writer {
	o := testOptions(disk)
	salt := uint64(0)
	o.FileSize, o.Salt = 5*pageSize, func() uint64 { salt += 0x0123456789abcdef; return salt }
	w := startLog(t, o)
	w.add(5)
	w.add(0)
	w.add(20)
	check(t, w.Sync())
	w.addSynced(4060)
	w.addSynced(100)
	w.close()
	return w
}

func TestFormatIsTheGoldenOne(t *testing.T) {
	disk := newDisk(t)
	goldenLog(t, disk)
	var got strings.Builder
	for _, name := range append(fileNames(t, disk), MarkFile) {
		b, err := disk.ReadFile(path.Join(testDir, name))
		check(t, err)
		fmt.Fprintf(&got, "%s\n%s", name, dump(b))
	}
	if got.String() != golden {
		t.Errorf("the format changed: this needs a new version, and a new golden file beside the old one. Got:\n%s", &got)
	}
}

func TestGoldenLogIsReadable(t *testing.T) {
	disk := newDisk(t)
	want := maps.Clone(goldenLog(t, newDisk(t)).written)
	o := testOptions(disk)
	for name, b := range undump(t, golden) {
		check(t, disk.WriteFile(path.Join(testDir, name), b))
	}
	wantWhole(t, o, want)
}

// A log of version 1 is refused, and the error says what to do.
func TestLogOfVersion1IsRefused(t *testing.T) {
	disk := newDisk(t)
	for name, b := range undump(t, golden1) {
		check(t, disk.WriteFile(path.Join(testDir, name), b))
	}
	_, err := Open(testOptions(disk))
	if !errors.Is(err, kv.ErrVersion) || !strings.Contains(err.Error(), "never released: start with an empty directory") {
		t.Errorf("got %v", err)
	}
}

// undump is the inverse of dump for a list of files.
func undump(t *testing.T, text string) map[string][]byte {
	files := map[string][]byte{}
	name := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if strings.HasSuffix(line, fileSuffix) || line == MarkFile {
			name = line
			files[name] = []byte{}
			continue
		}
		var at int
		digits, bytesOf, _ := strings.Cut(line, "  ")
		_, err := fmt.Sscanf(digits, "%x", &at)
		check(t, err)
		b, err := hex.DecodeString(strings.ReplaceAll(bytesOf, " ", ""))
		check(t, err)
		files[name] = append(append(files[name], make([]byte, at-len(files[name]))...), b...)
	}
	return files
}

// This is the example of the package documentation, with the same bytes.
func ExampleLog() {
	disk := simdisk.New()
	if err := disk.Mkdir("log"); err != nil {
		fmt.Println(err)
		return
	}
	reader, err := Open(Options{
		FS: disk, Dir: "log", FileSize: 16 << 10, MaxSize: 64 << 10,
		StoreID: [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
		Salt:    func() uint64 { return 0x1122334455667788 },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	log, err := reader.Start(0, Words{})
	if err != nil {
		fmt.Println(err)
		return
	}
	frame := append(NewFrame(nil), "hello"...)
	if err := log.Reserve(len("hello")); err != nil {
		fmt.Println(err)
		return
	}
	one := Words{Records: 1, Sum: 0x1234, Before: 1 << 40} // of all before the vouching frame
	lsn, err := log.Append(frame, 1_700_000_000_000_000_000, one)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("frame", lsn, "durable:", log.Synced() >= lsn)
	if err := log.Sync(); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("frame", lsn, "durable:", log.Synced() >= lsn)
	if err := log.Vouch(1_700_000_001_000_000_000, Words{Records: 1, Sum: 0x1234, Recent: 1 << 40}); err != nil {
		fmt.Println(err)
		return
	}
	for _, name := range []string{"0000000000000001.wal", MarkFile} {
		bytes, err := disk.ReadFile("log/" + name)
		fmt.Print(name, "\n", dump(bytes), err, "\n")
	}
	// Output:
	// frame 1 durable: false
	// frame 1 durable: true
	// 0000000000000001.wal
	// 000000  6b 76 64 2e 77 61 6c 0a 02 00 00 00 00 00 00 00
	// 000010  01 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00
	// 000020  00 40 00 00 00 00 00 00 88 77 66 55 44 33 22 11
	// 000030  00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f
	// 000ff0  00 00 00 00 00 00 00 00 26 75 9f 0a d7 77 96 f0
	// 001000  81 87 59 25 9b ee 92 19 5e 5b 43 cf c0 64 2c 8d
	// 001010  05 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00
	// 001020  00 00 00 00 00 00 00 00 00 00 2a 36 fe 9c 97 17
	// 001050  00 00 00 00 00 00 00 00 68 65 6c 6c 6f 00 00 00
	// 002000  b7 37 b2 20 89 57 d7 6a ab 2e 5d 33 02 f8 f8 76
	// 002010  00 00 00 00 00 00 00 00 02 00 00 00 00 00 00 00
	// 002020  01 00 00 00 00 00 00 00 00 ca c4 71 fe 9c 97 17
	// 002030  01 00 00 00 00 00 00 00 34 12 00 00 00 00 00 00
	// 002040  00 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00
	// 003000  6b 76 64 2e 77 61 6c 0a 02 00 00 00 00 00 00 00
	// 003010  01 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00
	// 003020  00 40 00 00 00 00 00 00 88 77 66 55 44 33 22 11
	// 003030  00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f
	// 003ff0  00 00 00 00 00 00 00 00 b4 14 18 c5 77 11 eb 3f
	// 004000
	// <nil>
	// synced
	// 000000  6b 76 64 2e 73 79 6e 0a 02 00 00 00 00 00 00 00
	// 000010  00 01 02 03 04 05 06 07 08 09 0a 0b 0c 0d 0e 0f
	// 000020  02 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00
	// 000030  34 12 00 00 00 00 00 00 00 00 00 00 00 00 00 00
	// 000040  00 00 00 00 00 00 00 00 00 00 00 00 00 01 00 00
	// 000050  3c 11 2f 1f 12 3a 00 04
	// 000058
	// <nil>
}
