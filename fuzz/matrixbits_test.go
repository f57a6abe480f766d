package fuzz

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// bitsOfAnEffort is how many bits of each store are flipped: together a sixty-fourth of the
// 524,288 bits of 64 KiB. An effort of 200 flips every bit of both stores.
const bitsOfAnEffort = 8 * (64 << 10) / 128

// TestDamageMatrixOfBits flips bits of a store that has 64 KiB in use.
func TestDamageMatrixOfBits(t *testing.T) {
	for _, closed := range []bool{true, false} {
		t.Run(fmt.Sprintf("closed=%t", closed), func(t *testing.T) {
			m := newMatrixStore(t, closed)
			used := m.used(t)
			checkUse(t, used)
			r := rand.New(rand.NewPCG(*matrixSeed, 9))
			left, wanted := 8*len(used), effort(bitsOfAnEffort)
			start, refused, checks := time.Now(), atomic.Int64{}, newChecks()
			defer checks.close()
			for _, u := range used {
				for bit := range 8 {
					if r.IntN(left) < wanted {
						wanted--
						checks.add(func(count func()) error { count(); return m.flip(u.unit, bit, &refused) })
					}
					left--
				}
			}
			if err := checks.wait(); err != nil {
				t.Error(err)
			}
			images, took := checks.images.Load(), time.Since(start)
			t.Logf("-kvd.matrix-seed=%d: %d of %d bits, %d answers refused; %.0f images a second", *matrixSeed, images, 8*len(used), refused.Load(), float64(images)/took.Seconds())
		})
	}
}

// flip examines a copy with one bit flipped.
func (m *matrixStore) flip(u unit, bit int, refused *atomic.Int64) error {
	disk := m.disk.Clone()
	if err := disk.Corrupt(u.file, u.offset, 1, func(b []byte) { b[0] ^= 1 << bit }); err != nil {
		return err
	}
	o := m.examine("store", disk, m.mayRefuse(u))
	refused.Add(int64(o.refused))
	if len(o.faults) > 0 {
		return fmt.Errorf("-kvd.matrix-seed=%d: %v, bit %d, %s", *matrixSeed, u, bit, strings.Join(o.faults, "; "))
	}
	return nil
}

// usedByte is a byte that something was written to, and what it is part of.
type usedByte struct {
	unit
	part string
}

// parts are the parts of a store, each of which has to have its share of the bytes in use.
var parts = []string{"log", "records", "index", "manifest"}

// used returns the bytes of all files, each page up to its last byte that is not zero.
func (m *matrixStore) used(t *testing.T) (list []usedByte) {
	t.Helper()
	for _, page := range m.units(t, 4096) {
		content, err := m.disk.ReadFile(page.file)
		if err != nil {
			t.Fatal(err)
		}
		end := page.offset + int64(len(bytes.TrimRight(content[page.offset:page.offset+page.size], "\x00")))
		for at := page.offset; at < end; at++ {
			list = append(list, usedByte{unit{page.file, at, 1}, m.part(page.file, at)})
		}
	}
	return list
}

// part says what a byte of a file is part of.
func (m *matrixStore) part(file string, at int64) string {
	switch {
	case strings.HasSuffix(file, ".wal"):
		return "log"
	case strings.Contains(file, "manifest"):
		return "manifest"
	case !strings.HasSuffix(file, ".seg"):
		return "mark"
	}
	if _, named := m.owners[file]; !named { // it has no block yet
		return "records"
	}
	in := func(r storedRecord) bool { return r.file == file && r.offset <= at && at < r.end }
	if slices.ContainsFunc(m.records, in) || slices.ContainsFunc(m.tails, in) {
		return "records"
	}
	return "index"
}

// checkUse fails the test unless 64 KiB are in use, and 8 KiB by each part.
func checkUse(t *testing.T, used []usedByte) {
	t.Helper()
	count := map[string]int{}
	for _, u := range used {
		count[u.part]++
	}
	t.Logf("-kvd.matrix-seed=%d: %d bytes are in use: %v", *matrixSeed, len(used), count)
	if len(used) < 64<<10 {
		t.Errorf("%d bytes are in use", len(used))
	}
	for _, part := range parts {
		if count[part] < 8<<10 {
			t.Errorf("of %d bytes in use %d are of the %s", len(used), count[part], part)
		}
	}
}
