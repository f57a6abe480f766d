package segment

import (
	"errors"
	"io/fs"
	"slices"
	"testing"

	"kvd/internal/vfs"
	"kvd/kv"
)

// tailOf returns the revisions of a tail, with a minus for those behind a break.
func tailOf(t *testing.T, o Options, number uint64, from int64) (list []int) {
	t.Helper()
	err := Tail(o, number, testBucket, from, func(r *TailRecord) error {
		if again, size, err := o.Seed.DecodeRecord(r.Encoded); err != nil || size != len(r.Encoded) || again.Revision != r.Revision || string(again.Key) != string(r.Key) {
			t.Errorf("revision %d: the bytes are those of revision %d, %v", r.Revision, again.Revision, err)
		}
		rev := int(r.Revision)
		if r.Broken {
			rev = -rev
		}
		list = append(list, rev)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// A tail begins where the manifest's part ends, passes index blocks, and says where damage
// may hide something.
func TestTail(t *testing.T) {
	x := create(t, memOptions(t))
	x.put("a", "1")
	x.put("b", "2")
	x.index()
	from := x.s.Desc().Size
	x.put("c", "3")
	x.put("a", "4")
	x.index()
	x.put("d", "5")
	x.put("e", "6")
	end := x.s.Size()
	for _, c := range []struct {
		name   string
		change func()
		want   []int
	}{
		{"as a process leaves it", func() {}, []int{3, 4, 5, 6}},
		{"the head of a record", func() { x.write(from+recordHeadSum, []byte{1}) }, []int{-4, 5, 6}},
		{"a value", func() { x.write(end-8, []byte("!")) }, []int{3, 4, 5}},
		{"a page of an index block", func() { x.write(x.s.Desc().LastIndex+100, []byte("!")) }, []int{3, 4, -5, 6}},
		{"the rest of the file", func() { x.edit(func(f vfs.File) error { return f.Truncate(from + 8) }) }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := x.bytes()
			c.change()
			if got := tailOf(t, x.o, testNumber, from); !slices.Equal(got, c.want) {
				t.Errorf("tail %v, want %v", got, c.want)
			}
			x.write(0, before)
		})
	}
	if got := tailOf(t, x.o, testNumber, HeaderSize); !slices.Equal(got, []int{1, 2, 3, 4, 5, 6}) {
		t.Errorf("the whole file has %v", got)
	}
	if got := tailOf(t, x.o, testNumber+1, HeaderSize); got != nil {
		t.Errorf("a missing file has %v", got)
	}
}

func TestIdentify(t *testing.T) {
	x := create(t, memOptions(t))
	x.put("a", "1")
	if id, err := Identify(x.o, testNumber); err != nil || id != testBucket {
		t.Errorf("bucket %d, %v", id, err)
	}
	if _, err := Identify(x.o, testNumber+1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	other := x.o
	other.Seed++
	if _, err := Identify(other, testNumber); !errors.Is(err, kv.ErrCorrupt) {
		t.Errorf("a file of another store: %v", err)
	}
	x.write(40, []byte("!"))
	if _, err := Identify(x.o, testNumber); !errors.Is(err, kv.ErrCorrupt) {
		t.Errorf("a damaged header: %v", err)
	}
}
