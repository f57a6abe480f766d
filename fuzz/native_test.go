package fuzz

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"kvd/internal/vfs/simdisk"
	"kvd/kv"
)

// fuzzSteps bounds a workload that is made of a fuzzer's bytes: each step has a dozen
// calls, and each call has several images.
const fuzzSteps = 6

// FuzzOpsCrash makes a workload of the input and cuts the power at all its calls.
func FuzzOpsCrash(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("a bucket, a few keys, and so on; the bytes decide what comes next"))
	f.Fuzz(func(t *testing.T, b []byte) {
		load := newGenerator(&byteChooser{b[:min(len(b), 4096)]}).workload(1, fuzzSteps)
		if err := runSweep(load, plan{samples: 1, nested: 250, goOn: 40}, inlineChecks()); err != nil {
			t.Fatalf("%v\n%v", err, load)
		}
	})
}

// FuzzManifest replaces one or both copies of the manifest by arbitrary bytes. If one copy
// remains, nothing may be lost.
func FuzzManifest(f *testing.F) {
	c := record(f, smallStore(), true)
	good, err := c.disk.ReadFile(storeDir + "/manifest.1")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good, uint8(0))
	f.Add(good[:len(good)-40], uint8(1))
	f.Add(good[:200], uint8(2))
	f.Add([]byte{}, uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, which uint8) {
		image := c.disk.Clone()
		for i, name := range []string{"/manifest.1", "/manifest.2"} {
			if int(which%3) == i || which%3 == 2 {
				if err := image.WriteFile(storeDir+name, b); err != nil {
					t.Fatal(err)
				}
			}
		}
		oldest := c.last()
		if which%3 == 2 {
			oldest = 0
		}
		_, err := c.examine(image, oldest, func() {})
		if errors.Is(err, kv.ErrVersion) {
			return // whatever the other copy holds
		}
		if err != nil && (which%3 != 2 || !errors.Is(err, kv.ErrCorrupt)) {
			t.Fatal(err)
		}
	})
}

// FuzzDamage damages a store in several places and opens it twice. It must not panic, must
// serve only records that existed, and must serve the same both times.
func FuzzDamage(f *testing.F) {
	c := record(f, smallStore(), false)
	files := c.files(f)
	f.Add([]byte{})
	f.Add([]byte{3, 0x10, 0x20, 1, 9, 4, 0x20, 0x00, 2, 40, 6, 0x02, 0x10, 0, 77})
	f.Add([]byte{2, 0x10, 0, 0, 255, 3, 0x10, 0, 0, 255, 4, 0x10, 0, 0, 255, 5, 0x10, 0, 0, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		image := c.disk.Clone()
		for d := (&byteChooser{b[:min(len(b), 64)]}); len(d.b) > 0; {
			if err := damageAt(d, image, files); err != nil {
				t.Fatal(err)
			}
		}
		first, err := c.glimpse(image)
		if errors.Is(err, kv.ErrCorrupt) {
			return // the store cannot serve anything, and its error says so
		}
		if err != nil {
			t.Fatal(err)
		}
		if !c.onceHeld(first) {
			t.Fatalf("serves a state that never existed; against the newest state:\n%s", c.states[c.last()].Diff(first))
		}
		second, err := c.glimpse(image)
		if err != nil {
			t.Fatalf("opened again: %v", err)
		}
		if d := first.Diff(second); d != "" {
			t.Fatalf("opened again it serves other records:\n%s", d)
		}
	})
}

// onceHeld reports whether every served record existed in some state.
func (c *chronicle) onceHeld(got *Model) bool {
	for name, b := range got.Buckets {
		for key, records := range b.Keys {
			for _, r := range records {
				if !slices.ContainsFunc(c.states, func(m *Model) bool {
					held := m.Buckets[name]
					return held != nil && slices.ContainsFunc(held.Keys[key], r.equal)
				}) {
					return false
				}
			}
		}
	}
	return true
}

// damageAt changes a part of a file. Five bytes decide which part and how.
func damageAt(c *byteChooser, image *simdisk.Disk, files []stored) error {
	f := files[c.IntN(len(files))]
	if len(f.bytes) == 0 {
		return nil
	}
	at := c.IntN(1<<16) % len(f.bytes)
	how, size := c.IntN(3), 1+c.IntN(256)
	size = min(size, len(f.bytes)-at)
	return image.Corrupt(f.path, int64(at), int64(size), func(b []byte) {
		switch how {
		case 0:
			for i := range b {
				b[i] ^= byte(size)
			}
		case 1:
			clear(b)
		case 2: // the bytes at the same place of another file
			other := files[size%len(files)].bytes
			copy(b, other[min(at, len(other)):])
		}
	})
}

// glimpse opens the store, reads it and closes it.
func (c *chronicle) glimpse(image *simdisk.Disk) (*Model, error) {
	w := (&finding{workload: c.workload, image: image, now: c.now}).world()
	if err := w.start(); err != nil {
		return nil, err
	}
	got, losses, err := w.observe()
	if i := slices.IndexFunc(losses, func(l Loss) bool { return l.named() != nil }); i >= 0 {
		err = losses[i].named()
	}
	readOnly := w.store.Report().ReadOnly
	if stopErr := w.stop(); err == nil && stopErr != nil && readOnly == nil {
		err = fmt.Errorf("close: %w", stopErr)
	}
	return got, err
}
