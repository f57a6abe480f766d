package wal

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	"kvd/kv"
)

var testStore = [16]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}

var testHeader = header{
	fileID: 3, number: 7, size: 4 * pageSize, salt: 0x1122334455667788, store: testStore, prev: 6, after: 41, words: wordsOf(42),
}

func TestHeaderRoundTrip(t *testing.T) {
	for name, h := range map[string]header{
		"a file":         testHeader,
		"the first file": {fileID: 1, number: 1, size: fileSizeMin, store: testStore},
		"a spare":        {fileID: 9, size: fileSizeMin, salt: 5, store: testStore},
		"the largest":    {fileID: 1<<64 - 1, number: 1<<64 - 1, size: fileSizeMax, salt: 1<<64 - 1, prev: 1<<64 - 2, after: 1<<64 - 1},
	} {
		t.Run(name, func(t *testing.T) {
			for _, offset := range []int64{0, h.end()} {
				var page [pageSize]byte
				h.encode(&page, offset)
				if got, err := decodeHeader(&page, h.fileID, offset); err != nil || got != h {
					t.Errorf("at %d: got %+v, %v; want %+v", offset, got, err, h)
				}
			}
		})
	}
}

func TestHeaderRefusesEveryFlippedBit(t *testing.T) {
	var page [pageSize]byte
	testHeader.encode(&page, 0)
	for bit := range 8 * pageSize {
		page[bit/8] ^= 1 << (bit % 8)
		if h, err := decodeHeader(&page, testHeader.fileID, 0); err == nil {
			t.Fatalf("bit %d flipped: accepted as %+v", bit, h)
		}
		page[bit/8] ^= 1 << (bit % 8)
	}
}

// reseal corrects the checksum of a header.
func reseal(page *[pageSize]byte, offset int64) {
	binary.LittleEndian.PutUint64(page[headerSumAt:], headerSum(page, offset))
}

func TestHeaderRefusesWrongFields(t *testing.T) {
	with := func(change func(*header)) func(*[pageSize]byte) {
		return func(page *[pageSize]byte) {
			h := testHeader
			change(&h)
			h.encode(page, 0)
		}
	}
	for name, c := range map[string]struct {
		change func(*[pageSize]byte)
		want   string
	}{
		"zeros":            {func(p *[pageSize]byte) { clear(p[:]) }, "no magic number"},
		"the last copy":    {func(p *[pageSize]byte) { testHeader.encode(p, testHeader.end()) }, "checksum"},
		"another file":     {with(func(h *header) { h.fileID = 4 }), "header is that of 0000000000000004.wal"},
		"no size":          {with(func(h *header) { h.size = 0 }), "file size of 0"},
		"an odd size":      {with(func(h *header) { h.size++ }), "file size of 16385"},
		"a huge size":      {with(func(h *header) { h.size = fileSizeMax + pageSize }), "file size of 1073745920"},
		"a negative size":  {with(func(h *header) { h.size = -4 * pageSize }), "file size of -16384"},
		"itself before it": {with(func(h *header) { h.prev = 7 }), "names 7 as the one before"},
		"a chained spare":  {with(func(h *header) { h.number = 0 }), "names 6 as the one before"},
		"the first zero":   {func(p *[pageSize]byte) { p[headerZeroAt] = 1; reseal(p, 0) }, "keeps zero"},
		"trailing bytes":   {func(p *[pageSize]byte) { p[headerSumAt-1] = 1; reseal(p, 0) }, "keeps zero"},
	} {
		t.Run(name, func(t *testing.T) {
			var page [pageSize]byte
			testHeader.encode(&page, 0)
			c.change(&page)
			_, err := decodeHeader(&page, testHeader.fileID, 0)
			if err == nil || !strings.Contains(err.Error(), c.want) || errors.Is(err, kv.ErrVersion) {
				t.Errorf("got %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestHeaderMustBeFirstOrLast(t *testing.T) {
	var page [pageSize]byte
	testHeader.encode(&page, pageSize)
	if h, err := decodeHeader(&page, testHeader.fileID, pageSize); err == nil {
		t.Errorf("on the second of four pages: accepted as %+v", h)
	}
}

func TestHeaderOfNewerVersion(t *testing.T) {
	var page [pageSize]byte
	testHeader.encode(&page, 0)
	page[headerVersionAt] = formatVersion + 1
	if _, err := decodeHeader(&page, testHeader.fileID, 0); errors.Is(err, kv.ErrVersion) {
		t.Errorf("a bad checksum was taken for a new version: %v", err)
	}
	reseal(&page, 0)
	if _, err := decodeHeader(&page, testHeader.fileID, 0); !errors.Is(err, kv.ErrVersion) {
		t.Errorf("got %v, want one matching kv.ErrVersion", err)
	}
}

// A feature that is not known is not damage: a newer program uses it.
func TestHeaderWithAnUnknownFeature(t *testing.T) {
	for bit := range 32 {
		var page [pageSize]byte
		testHeader.encode(&page, 0)
		page[headerFeaturesAt+bit/8] = 1 << (bit % 8)
		if _, err := decodeHeader(&page, testHeader.fileID, 0); errors.Is(err, kv.ErrVersion) {
			t.Errorf("a bad checksum was taken for a feature: %v", err)
		}
		reseal(&page, 0)
		if _, err := decodeHeader(&page, testHeader.fileID, 0); !errors.Is(err, kv.ErrVersion) || !strings.Contains(err.Error(), "features") {
			t.Errorf("bit %d: got %v, want one matching kv.ErrVersion", bit, err)
		}
	}
}

func sealed(payload string, lsn, synced LSN, id identity, offset int64) []byte {
	b := append(NewFrame(nil), payload...)
	frameHeader{lsn: lsn, synced: synced, time: 5}.seal(b, id, offset)
	return b
}

func TestFrameHeaderRoundTrip(t *testing.T) {
	id := testHeader.identity()
	b := sealed("payload", 42, 41, id, pageSize)
	h, ok := decodeFrameHeader(b, id, pageSize)
	if !ok || h.length != 7 || h.lsn != 42 || h.synced != 41 || h.time != 5 || h.size() != int64(len(b)) {
		t.Errorf("got %+v, %v", h, ok)
	}
}

func TestFrameIsValidInItsPlaceOnly(t *testing.T) {
	id := testHeader.identity()
	b := sealed("payload", 42, 41, id, pageSize)
	for name, c := range map[string]struct {
		id     identity
		offset int64
	}{
		"another salt":        {identity{id.salt + 1, id.number}, pageSize},
		"another file number": {identity{id.salt, id.number + 1}, pageSize},
		"another offset":      {id, 2 * pageSize},
		"salt and number swapped, which a sum or XOR of them would not see": {identity{id.number, id.salt}, pageSize},
		"offset and number traded, likewise":                                {identity{id.salt, id.number + 8}, pageSize - 8},
	} {
		if h, ok := decodeFrameHeader(b, c.id, c.offset); ok {
			t.Errorf("%s: accepted as %+v", name, h)
		}
		payload := b[FrameHeaderSize:]
		if c.id.sum(c.offset+FrameHeaderSize, payload) == id.sum(pageSize+FrameHeaderSize, payload) {
			t.Errorf("%s: the payload's checksum is the same", name)
		}
	}
}

func TestFrameRefusesWrongFields(t *testing.T) {
	id := testHeader.identity()
	reseal := func(b []byte) {
		binary.LittleEndian.PutUint64(b, id.sum(pageSize, b[framePayloadSumAt:FrameHeaderSize]))
	}
	le := binary.LittleEndian
	for name, change := range map[string]func([]byte){
		"zeros":             func(b []byte) { clear(b) },
		"LSN 0":             func(b []byte) { le.PutUint64(b[frameLSNAt:], 0); le.PutUint64(b[frameSyncedAt:], 0); reseal(b) },
		"synced by itself":  func(b []byte) { le.PutUint64(b[frameSyncedAt:], 42); reseal(b) },
		"reserved bytes":    func(b []byte) { b[frameReservedAt] = 1; reseal(b) },
		"an endless length": func(b []byte) { le.PutUint32(b[frameLengthAt:], 1<<32-1); reseal(b) },
	} {
		b := sealed("payload", 42, 41, id, pageSize)
		change(b)
		if h, ok := decodeFrameHeader(b, id, pageSize); ok {
			t.Errorf("%s: accepted as %+v", name, h)
		}
	}
	for n := range FrameHeaderSize {
		if _, ok := decodeFrameHeader(sealed("", 42, 41, id, pageSize)[:n], id, pageSize); ok {
			t.Errorf("%d bytes of a header were accepted", n)
		}
	}
}

func TestNewFrameKeepsTheArray(t *testing.T) {
	dst := make([]byte, 100, 200)
	if b := NewFrame(dst); len(b) != FrameHeaderSize || &b[0] != &dst[0] || cap(b) != 200 {
		t.Errorf("got length %d, capacity %d", len(b), cap(b))
	}
}

func TestParseName(t *testing.T) {
	for _, fileID := range []uint64{0, 1, 0xabcdef, 1<<64 - 1} {
		if got, ok := parseName(fileName(fileID), fileSuffix); !ok || got != fileID {
			t.Errorf("%s: got %d, %v", fileName(fileID), got, ok)
		}
		if got, ok := parseName(scratchName(fileID), scratchSuffix); !ok || got != fileID {
			t.Errorf("%s: got %d, %v", scratchName(fileID), got, ok)
		}
		if _, ok := parseName(scratchName(fileID), fileSuffix); ok {
			t.Errorf("%s was taken for a file of the log", scratchName(fileID))
		}
	}
	for _, name := range []string{"", ".wal", "1.wal", "000000000000000A.wal", "+000000000000001.wal", "0x00000000000001.wal",
		"00000000000000001.wal", "0000000000000001", "0000000000000001.wal ", "000000000000_001.wal"} {
		if fileID, ok := parseName(name, fileSuffix); ok {
			t.Errorf("%q was taken for file id %d", name, fileID)
		}
	}
}

// dump prints the bytes of a file that are not zero, as text.
func dump(b []byte) string {
	var s strings.Builder
	for at := 0; at < len(b); at += 16 {
		line := b[at:min(at+16, len(b))]
		if !allZero(line) {
			fmt.Fprintf(&s, "%06x  %s\n", at, spaced(hex.EncodeToString(line)))
		}
	}
	fmt.Fprintf(&s, "%06x\n", len(b))
	return s.String()
}

func spaced(digits string) string {
	var s strings.Builder
	for i := 0; i < len(digits); i += 2 {
		if i > 0 {
			s.WriteByte(' ')
		}
		s.WriteString(digits[i : i+2])
	}
	return s.String()
}
