package segment

import (
	"errors"
	"testing"

	"kvd/internal/vfs"
	"kvd/kv"
)

// A file whose header got another store's id belongs to that store, and nothing else of it changes.
func TestRehome(t *testing.T) {
	x := create(t, memOptions(t))
	x.put("small", "inline")
	x.putFile("large", 11, patterned(5000), nil)
	x.index()
	other := [16]byte{1, 2, 3}
	for name, rehome := range map[string]func([]byte, [16]byte) bool{x.s.path: Rehome, x.valueFile(11): RehomeValue} {
		f, err := x.o.FS.Open(name, vfs.ReadWrite)
		if err != nil {
			t.Fatal(err)
		}
		page := make([]byte, pageSize)
		if _, err := f.ReadAt(page, 0); err != nil {
			t.Fatal(err)
		}
		if rehome(page[:20], other) || !rehome(page, other) {
			t.Errorf("%s: a header that is cut off is sound, or a whole one is not", name)
		}
		if _, err := f.WriteAt(page, 0); err != nil {
			t.Fatal(err)
		}
		page[30] ^= 1
		if rehome(page, other) {
			t.Errorf("%s: a damaged header is sound", name)
		}
		f.Close()
	}
	o := x.o
	if _, err := Open(o, x.s.Desc()); !errors.Is(err, kv.ErrCorrupt) {
		t.Errorf("the old store opens the file: %v", err)
	}
	o.StoreID = other
	s, err := Open(o, x.s.Desc())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Retire()
	records := 0
	err = s.Walk(0, s.Size(), func(int64, *Record, int, bool) error { records++; return nil }, func(d *kv.CorruptError) { t.Errorf("damage: %v", d) })
	if err != nil || records != 2 {
		t.Errorf("%d records, %v", records, err)
	}
}

// A check of a value file accepts the file as it was written, and nothing else.
func TestValueCheck(t *testing.T) {
	o := memOptions(t)
	value := patterned(ValueFileMin + 100)
	if _, err := createValue(o, 7, testBucket, value); err != nil {
		t.Fatal(err)
	}
	f, err := o.FS.Open(o.Dir+"/"+ValueFileName(7), vfs.ReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	whole := make([]byte, ValueFileBytes(uint32(len(value))))
	if _, err := f.ReadAt(whole, 0); err != nil {
		t.Fatal(err)
	}
	check := func(b []byte, step int) error {
		c := NewValueCheck(o.Seed)
		for at := 0; at < len(b); at += step {
			_, _ = c.Write(b[at:min(len(b), at+step)]) // never fails
		}
		return c.Err()
	}
	for _, step := range []int{1, 1000, pageSize, len(whole)} {
		if err := check(whole, step); err != nil {
			t.Errorf("in steps of %d: %v", step, err)
		}
	}
	for n := range whole {
		if check(whole[:n], len(whole)) == nil {
			t.Errorf("the first %d bytes are sound", n)
		}
	}
	for bit := range 8 * len(whole) {
		whole[bit/8] ^= 1 << (bit % 8)
		if check(whole, len(whole)) == nil {
			t.Errorf("bit %d flipped is sound", bit)
		}
		whole[bit/8] ^= 1 << (bit % 8)
	}
	if IsValueFileBytes(pageSize) || !IsValueFileBytes(int64(len(whole))) || IsValueFileBytes(1<<40) {
		t.Error("sizes of value files")
	}
}
