package segment

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"kvd/kv"
)

// samplePage returns the encoding of a page at a place.
func samplePage(seed Seed, at place) ([]byte, pageHeader) {
	b := make([]byte, pageSize)
	n := copy(b[pageHeaderSize:], bodyOf(sampleEntries()[:3]))
	h := pageHeader{
		prev: extent{4096, 3}, block: extent{1<<20 - pageSize, 4}, first: 1 << 19,
		before: totals{1000, 1<<64 - 5}, own: totals{3, 77}, length: uint32(n),
	}
	seed.putPageHeader(b, at, &h)
	return b, h
}

func TestPage(t *testing.T) {
	at := place{bucketID: 7, number: 3, offset: 1 << 20}
	b, want := samplePage(testSeed, at)
	h, entries, err := testSeed.decodePage(b, at)
	if err != nil || h != want || len(entries) != int(want.length) {
		t.Fatalf("decoded %+v, %v", h, err)
	}
	for bit := range len(b) * 8 {
		b[bit/8] ^= 1 << (bit % 8)
		if h, _, err := testSeed.decodePage(b, at); !errors.Is(err, kv.ErrCorrupt) {
			t.Errorf("bit %d flipped: %+v, %v", bit, h, err)
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
	for _, n := range []int{0, 7, 8, pageHeaderSize, pageSize - 1} {
		if _, _, err := testSeed.decodePage(b[:n], at); err != errPageMagic {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	for _, elsewhere := range []place{{8, 3, 1 << 20}, {7, 4, 1 << 20}, {7, 3, 1<<20 + pageSize}} {
		if _, _, err := testSeed.decodePage(b, elsewhere); err != errPageSum {
			t.Errorf("at %+v: %v", elsewhere, err)
		}
	}
	if _, _, err := (testSeed + 1).decodePage(b, at); err != errPageSum {
		t.Errorf("with another store's seed: %v", err)
	}
}

func TestPageRanges(t *testing.T) {
	at := place{bucketID: 7, number: 3, offset: 8 * pageSize}
	sound := pageHeader{
		prev: extent{pageSize, 2}, block: extent{7 * pageSize, 3}, first: 3 * pageSize,
		before: totals{1, 2}, own: totals{1, 3}, length: 8,
	}
	for name, change := range map[string]func(h *pageHeader){
		"":                                     func(*pageHeader) {},
		"no block before":                      func(h *pageHeader) { h.prev, h.first = extent{}, HeaderSize },
		"the first record in the file header":  func(h *pageHeader) { h.prev, h.first = extent{}, HeaderSize-8 },
		"the first record unaligned":           func(h *pageHeader) { h.first++ },
		"the first record in the block before": func(h *pageHeader) { h.first -= 8 },
		"the first record in the block":        func(h *pageHeader) { h.first = h.block.offset },
		"the first record below 0":             func(h *pageHeader) { h.prev, h.first = extent{}, -8 },
		"the block before of no pages":         func(h *pageHeader) { h.prev.pages = 0 },
		"the block before without a place":     func(h *pageHeader) { h.prev.offset = 0 },
		"the block before below 0":             func(h *pageHeader) { h.prev.offset = -pageSize },
		"the block before unaligned":           func(h *pageHeader) { h.prev.offset += 8 },
		"the block unaligned":                  func(h *pageHeader) { h.block.offset -= 8 },
		"the block behind the page":            func(h *pageHeader) { h.block.offset = 9 * pageSize },
		"the block ends before the page":       func(h *pageHeader) { h.block.pages = 1 },
		"the block beyond every file":          func(h *pageHeader) { h.block.pages = MaxSize / pageSize },
		"no entries":                           func(h *pageHeader) { h.own.records = 0 },
		"no bytes of entries":                  func(h *pageHeader) { h.length = 0 },
		"more bytes of entries than fit":       func(h *pageHeader) { h.length = pageRoom + 1 },
		"entries of the highest length":        func(h *pageHeader) { h.length = 1<<32 - 1 },
	} {
		h := sound
		change(&h)
		b := make([]byte, pageSize)
		testSeed.putPageHeader(b, at, &h)
		_, _, err := testSeed.decodePage(b, at)
		if want := name != "" && name != "no block before"; (err == errPageRange) != want {
			t.Errorf("%q: %v", name, err)
		}
	}
	b, _ := samplePage(testSeed, place{7, 3, 1 << 20})
	b[pageSize-1] = 1
	le.PutUint64(b[pageSum:], testSeed.pageSum(place{7, 3, 1 << 20}, b))
	if _, _, err := testSeed.decodePage(b, place{7, 3, 1 << 20}); err != errPageRange {
		t.Errorf("bytes behind the entries: %v", err)
	}
}

// pages returns the headers of the pages of a block.
func (x *fixture) pages(b extent) (headers []pageHeader) {
	x.t.Helper()
	file := x.bytes()
	for offset := b.offset; offset < b.end(); offset += pageSize {
		h, _, err := testSeed.decodePage(file[offset:offset+pageSize], x.s.placeOf(offset))
		if err != nil {
			x.t.Fatalf("page at %d: %v", offset, err)
		}
		headers = append(headers, h)
	}
	return headers
}

// Each page can be used alone: it begins its deltas anew, no entry crosses its end, and it says
// what is before it. Blocks begin on pages of their own, with zeros before them.
func TestPagesStandAlone(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 0))
		x := createOf(t, memOptions(t), 8<<20)
		for range 1 + rng.IntN(4) {
			for range 1 + rng.IntN(500) {
				x.put(strings.Repeat("k", 1+rng.IntN(100)*rng.IntN(11)), strings.Repeat("v", rng.IntN(50)))
			}
			x.index()
		}
		var all []Entry
		sum, prev, end := totals{}, extent{}, int64(HeaderSize)
		file := x.bytes()
		for _, b := range x.blocks() {
			for i, h := range x.pages(b) {
				offset := b.offset + int64(i)*pageSize
				if h.prev != prev || h.block != b || h.first != end || h.before != sum {
					t.Fatalf("seed %d: page at %d has the header %+v, want %+v, %+v, %d, %+v", seed, offset, h, prev, b, end, sum)
				}
				r := newPageReader(file[offset+pageHeaderSize:][:h.length], &h)
				own := totals{}
				for r.advance() {
					e := r.entry
					all = append(all, e)
					record := x.records[e.Offset]
					own = own.plus(totals{1, HeadSum(testSeed.AppendRecord(nil, &record))})
				}
				if r.err != nil || own != h.own {
					t.Fatalf("seed %d: page at %d says %+v, its entries %+v, %v", seed, offset, h.own, own, r.err)
				}
				sum, end = sum.plus(own), r.next
			}
			if b.offset != pageAlign(end) || strings.Trim(string(file[end:b.offset]), "\x00") != "" {
				t.Errorf("seed %d: records end at %d, the block is at %d", seed, end, b.offset)
			}
			prev, end = b, b.end()
		}
		if !reflect.DeepEqual(all, x.entries) {
			t.Errorf("seed %d: the pages have %d entries, want %d", seed, len(all), len(x.entries))
		}
		if d := x.s.Desc(); (totals{d.Records, d.Sum}) != sum {
			t.Errorf("seed %d: described as %+v, want %+v", seed, d, sum)
		}
		x.check()
	}
}
